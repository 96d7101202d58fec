"""Plugins: the registry of components, the events, loading plugins, and naming the plugin that failed."""
