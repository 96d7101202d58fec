"""Refuse components whose constructor does not call the constructor of their interface."""

from seqx.errors import PluginError
from seqx.plugin.registry import Component, provided_parameters


def check_base_constructor(component: Component, built: object) -> None:
    """Check that the constructor of a component has called the constructor of its interface.

    If not, attributes are missing that the constructor of the interface sets from its parameters.

    Raises:
        PluginError: it has not
    """
    interface = component.interface
    code = getattr(interface.__init__, "__code__", None)  # type: ignore[misc]  # None: no constructor
    attributes = [name for name in provided_parameters(interface) if code and name in code.co_names]
    if hasattr(interface, "named_parameters"):  # a module of torch, which this layer does not import
        attributes.append("_parameters")
    if not all(hasattr(built, name) for name in attributes):
        parameters = ", ".join(provided_parameters(interface))
        raise PluginError(
            f"{component.where}: the constructor of {component.name} does not call that of "
            f"{interface.__name__}; let it begin with super().__init__({parameters})"
        )
