package impl

import "strings"

// pipe keeps or binds the named pipe called name. Its descriptor decides who may open it, so that who
// comes through is as well known as the peers of the Unix socket.
func (ch *change) pipe(name string) error {
	e := endpoint{"pipe", name}
	if l := ch.c.live[e]; l != nil {
		ch.live[e] = l
		return nil
	}
	ln, err := listenPipe(name)
	if err != nil {
		return err
	}
	ch.add(e, &listener{Listener: ln})
	return nil
}

// SIDs that every Windows has.
const (
	sidSystem         = "S-1-5-18"
	sidAdministrators = "S-1-5-32-544"
)

// descriptor says, in SDDL, who may open a pipe: SYSTEM, administrators and user, which is the SID of
// an account. It inherits nothing, and what it does not name is denied.
func descriptor(user string) string {
	sids := []string{sidSystem, sidAdministrators}
	if user != sidSystem {
		sids = append(sids, user)
	}
	var b strings.Builder
	b.WriteString("D:P")
	for _, sid := range sids {
		b.WriteString("(A;;GA;;;" + sid + ")")
	}
	return b.String()
}
