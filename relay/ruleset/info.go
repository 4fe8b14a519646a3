package ruleset

import "time"

// Info describes a rule set that is kept up to date, for those who look at it.
type Info struct {
	Name     string
	Behavior Behavior
	Format   Format
	Vehicle  string // the API's word for where it comes from: "HTTP", "File", "Inline"
	Count    int    // entries

	UpdatedAt, TriedAt, NextAt time.Time // zero for never
	Err                        error     // of the last attempt
	Warnings                   Warnings  // lines that were left out
	Payload                    []string  // the entries of an inline set
}
