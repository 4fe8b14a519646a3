package dns

import "errors"

// ErrDisabled means that the configuration has no DNS, or has switched it off.
var ErrDisabled = errors.New("DNS section is disabled")
