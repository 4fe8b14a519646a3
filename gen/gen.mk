# The generated code: `make gen` writes every file, `make gen-check` tells which would change. Run
# from the root of the repository; templates are found relative to it.

GEN_CONFIGS := types append server client streams
GEN_TOOL    := go tool oapi-codegen
GEN_SPEC    := gen/spec/openapi.gen.json
GEN_YAML    := gen/spec/openapi.gen.yaml

.PHONY: gen gen-check

gen: ## write gen/ from openapi.yaml
	@set -e; for n in $(GEN_CONFIGS); do \
		$(GEN_TOOL) -config gen/cfg/$$n.yaml openapi.yaml; \
	done; \
	go run ./gen/internal/tojson < openapi.yaml > $(GEN_SPEC).new; mv $(GEN_SPEC).new $(GEN_SPEC)
	cp openapi.yaml $(GEN_YAML)

# The place of the output is in the config and beats the command line, so a copy of the config
# points it elsewhere.
gen-check: ## tell which files of gen/ openapi.yaml would change
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; status=0; \
	for n in $(GEN_CONFIGS); do \
		f=$$(sed -n 's/^output: //p' gen/cfg/$$n.yaml); mkdir -p "$$dir/$${f%/*}"; \
		sed "s|^output: |&$$dir/|" gen/cfg/$$n.yaml > "$$dir/$$n.yaml"; \
		$(GEN_TOOL) -config "$$dir/$$n.yaml" openapi.yaml; \
	done; \
	mkdir -p "$$dir/gen/spec"; go run ./gen/internal/tojson < openapi.yaml > "$$dir/$(GEN_SPEC)"; \
	cp openapi.yaml "$$dir/$(GEN_YAML)"; \
	for f in $$(cd "$$dir" && find gen -type f); do \
		cmp -s "$$dir/$$f" "$$f" || { echo "$$f is not what openapi.yaml makes: run make gen" >&2; status=1; }; \
	done; \
	for f in $$(find gen -name '*.gen.*'); do \
		test -e "$$dir/$$f" || { echo "$$f is made by no config" >&2; status=1; }; \
	done; \
	exit $$status
