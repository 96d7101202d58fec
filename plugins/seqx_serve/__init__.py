"""The command `seqx serve`: trained models that answer over HTTP.

`models` finds the model for a request, `batching` decodes the inputs of several requests together, `app` has
the routes, `schemas` the fields of requests and responses, and `page` the page that people see. `server` runs
the app until a signal stops it.
"""
