"""The command `seqx serve`: trained models that answer over HTTP.

`models` finds the model for a request, `batching` decodes the inputs of several requests together, `app`
defines the routes, `schemas` the fields of requests and responses, and `page` the HTML page. `server` runs
the app until a signal stops it.
"""
