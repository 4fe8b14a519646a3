// Package reply holds the proof that an operation was answered. It is internal so that only the
// generated server, which knows the statuses an operation declares, can make one.
package reply

// Reply is the proof. Its zero value means that nothing was answered.
type Reply struct{ status int }

// Of returns the proof of an answer with status.
func Of(status int) Reply { return Reply{status} }

// Status returns the status answered, 0 for none.
func (r Reply) Status() int { return r.status }
