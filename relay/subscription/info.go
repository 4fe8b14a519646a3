package subscription

import (
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Info is how a proxy provider is.
type Info struct {
	Name, Vehicle      string
	Nodes              []outbound.Outbound // not to be changed
	TestURL, Expected  string              // "" where it tests nothing; statuses as the configuration has them
	UpdatedAt, TriedAt time.Time           // zero for never
	NextAt             time.Time           // zero for none
	Err                error               // of the last attempt
	Used               *UserInfo           // nil where no server has said it
	Problems           []config.NodeProblem
	ProblemCount       int // Problems are the first of so many
}
