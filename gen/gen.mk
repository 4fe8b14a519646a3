# The generated code: `make gen` writes every file, `make gen-check` tells which would change. Run
# from the root of the repository; templates are found relative to it.

GEN_NAMES  := types append server client streams spec
GEN_OUT    := gen/api/types.gen.go gen/api/append.gen.go gen/server/server.gen.go \
              gen/client/client.gen.go gen/client/streams.gen.go gen/spec/spec.gen.go
GEN_TOOL   := go tool oapi-codegen

.PHONY: gen gen-check

gen:
	@set -e; for n in $(GEN_NAMES); do \
		$(GEN_TOOL) -config gen/cfg/$$n.yaml openapi.yaml; \
	done

gen-check:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT INT TERM && set -e && status=0; \
	set -- $(GEN_OUT); \
	for n in $(GEN_NAMES); do \
		f=$$1; shift; mkdir -p "$$dir/$$(dirname $$f)"; \
		$(GEN_TOOL) -config gen/cfg/$$n.yaml -o "$$dir/$$f" openapi.yaml; \
		cmp -s "$$dir/$$f" "$$f" || { echo "$$f differs from what openapi.yaml makes: run make gen" >&2; status=1; }; \
	done; \
	exit $$status
