// Package gen holds what is made from openapi.yaml, and what that needs to run: the models and
// their encoders in api, the server's interface in server with its run time in rt, the Go client
// in client, and the document itself in spec. `make gen` makes it.
package gen
