package config

// Change is a prepared step of a change of configuration. One of the two is called, once; neither
// can fail.
type Change interface {
	Commit()
	Abort()
}
