"""Plugins: the registry of components, the hooks, loading, and naming the plugin that raised an error."""
