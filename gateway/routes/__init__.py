"""The routes, one module a resource. A route is a call and a return."""
