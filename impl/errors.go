package impl

import (
	"errors"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// errPatch ends a change whose body was wrong; the answer says how.
var errPatch = errors.New("bad patch")

// stepper is an error that names the step of a change that failed.
type stepper interface {
	error
	FailedStep() string
}

// failure is an error as the API shows it, and its status: 400 for what the client can mend in what
// it sent, 404 for a name that is not there, 412 for a configuration that is another by now, 500 for a change
// that could not be made.
func failure(err error) (status int, body *api.Error) {
	var diags *config.Invalid
	var path *config.PathError
	var step stepper
	switch {
	case errors.As(err, &diags):
		return 400, &api.Error{
			Message: diags.Error(), Code: api.ErrorCodeConfigInvalid, Diagnostics: diagnostics(diags.Diagnostics),
		}
	case errors.Is(err, config.ErrStale):
		return 412, &api.Error{Message: err.Error(), Code: api.ErrorCodePreconditionFailed}
	case errors.As(err, &path):
		return 400, &api.Error{Message: path.Text, Code: api.ErrorCodePathInvalid}
	case errors.Is(err, group.ErrNoMember):
		return 400, &api.Error{
			Message: "Selector update error: proxy not exist", Code: api.ErrorCodeUnknownMember,
		}
	case errors.Is(err, rule.ErrNoRule):
		return 400, &api.Error{Message: err.Error(), Code: api.ErrorCodeUnknownRule}
	case errors.As(err, &step):
		name := step.FailedStep()
		return 500, &api.Error{Message: err.Error(), Code: api.ErrorCodeApplyFailed, Step: &name}
	}
	return 500, &api.Error{Message: err.Error(), Code: api.ErrorCodeInternal}
}

var notFound = &api.Error{Message: "Resource not found", Code: api.ErrorCodeNotFound}

var notPinnable = &api.Error{Message: "Body invalid", Code: api.ErrorCodeNotPinnable}

// bodyInvalid is the family's word for a request that cannot be understood.
func bodyInvalid(why string) *api.Error {
	e := &api.Error{Message: "Body invalid", Code: api.ErrorCodeBodyInvalid}
	if why != "" {
		e.Message += ": " + why
	}
	return e
}

func diagnostics(ds config.Diagnostics) []api.Diagnostic {
	out := make([]api.Diagnostic, 0, len(ds))
	for _, d := range ds {
		if d.Severity == config.Note {
			continue
		}
		a := api.Diagnostic{
			Severity: api.SeverityWarning, Path: d.Path, Line: d.Line, Column: d.Column, Message: d.Message,
		}
		if d.Severity == config.Error {
			a.Severity = api.SeverityError
		}
		if d.Hint != "" {
			a.Hint = &d.Hint
		}
		out = append(out, a)
	}
	return out
}
