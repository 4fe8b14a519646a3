package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// The texts below are the family's: programs read them.

// logFlow says where a flow goes: "[TCP] src --> dst match Domain(x) using G[leaf]". en is the flow in the
// table, nil for one that is not carried.
func (e *Engine) logFlow(ctx context.Context, f *flow.Flow, r *route, en *track.Entry) {
	if !e.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	var b strings.Builder
	writeFlow(&b, f)
	switch {
	case r.mode == Global:
		b.WriteString(" using GLOBAL")
	case r.mode == Direct:
		b.WriteString(" using DIRECT")
	case r.mode == Via:
		b.WriteString(" using " + chainText(r.chain))
	case r.rule == rule.None:
		b.WriteString(" doesn't match any rule using DIRECT")
	default:
		b.WriteString(" match " + r.info.Type)
		if r.info.Payload != "" {
			b.WriteString("(" + r.info.Payload + ")")
		}
		b.WriteString(" using " + chainText(r.chain))
	}
	if en != nil {
		e.log.LogAttrs(ctx, slog.LevelInfo, b.String(), slog.Any("", (*carried)(en)))
	} else {
		e.log.LogAttrs(ctx, slog.LevelInfo, b.String(), slog.Any("", refusal(f, r, nil)))
	}
}

func writeFlow(b *strings.Builder, f *flow.Flow) {
	b.WriteString("[" + strings.ToUpper(f.Network.String()) + "] ")
	b.WriteString(sourceText(f) + " --> " + f.To.String())
}

// sourceText is who opened f: an address, with the process where it is known, or ourselves.
func sourceText(f *flow.Flow) string {
	switch {
	case f.Kind == flow.Inner:
		return "switchyard"
	case f.Process.Path != "":
		return fmt.Sprintf("%s(%s, uid=%d)", f.Source, f.Process.Name(), f.Process.UID)
	}
	return f.Source.String()
}

func chainText(chain []string) string {
	if n := len(chain); n > 1 {
		return chain[n-1] + "[" + chain[0] + "]"
	}
	return chain[0]
}

// failed counts and logs a flow that came to nothing.
func (e *Engine) failed(ctx context.Context, f *flow.Flow, r *route, err error) {
	e.counters.failed(r, err)
	e.logFailure(ctx, f, r, err)
}

// logFailure says that an outbound could not be dialed. A rule's refusal is no failure.
func (e *Engine) logFailure(ctx context.Context, f *flow.Flow, r *route, err error) {
	level := slog.LevelWarn
	switch {
	case rejected(err):
		level = slog.LevelInfo
	case errors.Is(err, flow.ErrNoName): // which is said once for many
		level = slog.LevelDebug
	case f.Kind == flow.Inner: // whoever opened it says so, and what it was for
		level = slog.LevelDebug
	}
	if !e.log.Enabled(ctx, level) {
		return
	}
	if rejected(err) {
		e.logFlow(ctx, f, r, nil)
		return
	}
	var b strings.Builder
	b.WriteString("[" + strings.ToUpper(f.Network.String()) + "]")
	if len(r.chain) > 0 {
		b.WriteString(" dial " + r.chain[len(r.chain)-1])
	}
	if r.info.Type != "" {
		b.WriteString(" (match " + r.info.Type + "/" + r.info.Payload + ")")
	}
	b.WriteString(" " + sourceText(f) + " --> " + f.To.String() + " error: " + err.Error())
	e.log.LogAttrs(ctx, level, b.String(), slog.Any("", refusal(f, r, err)))
}

// logEnd says why a flow ended.
func (e *Engine) logEnd(ctx context.Context, en *track.Entry) {
	if !e.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	var b strings.Builder
	writeFlow(&b, en.Flow)
	b.WriteString(" closed: " + string(en.Reason()))
	e.log.LogAttrs(ctx, slog.LevelDebug, b.String(), slog.String("id", en.ID.String()),
		slog.Int64("up", en.Up.Load()), slog.Int64("down", en.Down.Load()), slog.Any("", (*ended)(en)))
}
