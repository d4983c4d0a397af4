"""HTTP and JSON for every method of an hrpc service, with an OpenAPI document and a page to try them."""
