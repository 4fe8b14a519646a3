package dns

import "context"

// Asked is the name of the server that is being asked on the way to here, or "": who connects to that
// name must not ask it what the name's address is.
func Asked(ctx context.Context) string {
	for t := trailOf(ctx); t != nil; t = t.from {
		if s, ok := t.step.(*Server); ok {
			return s.Spec.Addr.Host
		}
	}
	return ""
}

// trail are the questions and servers that a question has come about through. It is the one value that
// a context carries here: it has to pass through dialers and outbounds, which know nothing of it.
type trail struct {
	step any // a *flight or a *Server
	from *trail
}

type trailKey struct{}

func trailOf(ctx context.Context) *trail {
	t, _ := ctx.Value(trailKey{}).(*trail)
	return t
}

func withTrail(ctx context.Context, step any) context.Context {
	return context.WithValue(ctx, trailKey{}, &trail{step, trailOf(ctx)})
}

func (t *trail) passes(step any) bool {
	for ; t != nil; t = t.from {
		if t.step == step {
			return true
		}
	}
	return false
}

// loop is the error of one that has come back to a step: it is the server asked last that waits for
// itself.
func (t *trail) loop() error {
	for ; t != nil; t = t.from {
		if s, ok := t.step.(*Server); ok {
			return &loopError{s}
		}
	}
	return ErrLoop
}
