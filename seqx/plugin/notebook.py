"""Show values in notebooks: the hook `seqx_html`."""

from html import escape

from seqx.errors import UserError
from seqx.plugin.loading import load_plugins


def notebook_html(value: object) -> str | None:
    """Return HTML that shows a value in a notebook, from the first plugin that has some; None if none has.

    The method `_repr_html_` of a class calls it, so that plugins can draw the objects of the class.
    """
    try:
        html: str | None = load_plugins().run_hooks.hook.seqx_html(value=value)
    except UserError as error:  # such as a damaged file of a run
        return f"<pre>{escape(str(error))}</pre>"
    return html
