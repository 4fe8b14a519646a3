package impl

import (
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/logs"
)

// StreamTraffic implements server.Handler: what the last full second moved, once a second.
func (c *Controller) StreamTraffic(_ *fasthttp.RequestCtx, w server.StreamTrafficW) rt.Reply {
	return w.Stream(func(s server.TrafficStream) error {
		return everySecond(s.Done(), func(int) error {
			r := c.o.Relay.Table().Rates()
			return s.Send(&api.Traffic{Up: r.Up, Down: r.Down, UpTotal: r.UpTotal, DownTotal: r.DownTotal})
		})
	})
}

// StreamMemory implements server.Handler. The first message is 0: charts begin there.
func (c *Controller) StreamMemory(_ *fasthttp.RequestCtx, w server.StreamMemoryW) rt.Reply {
	return w.Stream(func(s server.MemoryStream) error {
		return everySecond(s.Done(), func(n int) error {
			m := api.Memory{}
			if n > 0 {
				m.Inuse = c.memory.inUse()
			}
			return s.Send(&m)
		})
	})
}

// everySecond calls send at once and then every second, until it fails or done is closed.
func everySecond(done <-chan struct{}, send func(n int) error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if err := send(n); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-done:
			return nil
		}
	}
}

var levels = map[api.LogLevel]slog.Level{
	api.LogLevelDebug: slog.LevelDebug, api.LogLevelInfo: slog.LevelInfo,
	api.LogLevelWarning: slog.LevelWarn, api.LogLevelError: slog.LevelError,
	api.LogLevelSilent: logs.Silent,
}

// StreamLogs implements server.Handler.
func (c *Controller) StreamLogs(_ *fasthttp.RequestCtx, q server.StreamLogsQuery, w server.StreamLogsW) rt.Reply {
	level := levels[q.Level]
	if q.Format == api.LogFormatStructured {
		return w.StreamStructured(func(s server.StructuredLogStream) error {
			return c.follow(s.Done(), level, func(e *logs.Entry) error { return s.Send(structured(e)) })
		})
	}
	return w.Stream(func(s server.LogEventStream) error {
		return c.follow(s.Done(), level, func(e *logs.Entry) error {
			return s.Send(&api.LogEvent{Type: api.LogType(logs.LevelName(e.Level)), Payload: e.Text()})
		})
	})
}

// follow sends messages until it fails or done is closed. A reader that was too slow learns how
// many messages it missed.
func (c *Controller) follow(done <-chan struct{}, level slog.Level, send func(*logs.Entry) error) error {
	watcher := c.o.Hub.Watch(level)
	defer watcher.Close()
	gap := func(n int, at time.Time) error {
		if n == 0 {
			return nil
		}
		e := logs.Gap(n, at)
		return send(&e)
	}
	for {
		if len(watcher.C) == 0 { // it is not left to the next message to tell
			if err := gap(watcher.Missed(), time.Now()); err != nil {
				return err
			}
		}
		select {
		case e := <-watcher.C:
			if err := gap(e.Lost, e.Time); err != nil {
				return err
			}
			if err := send(&e); err != nil {
				return err
			}
		case <-done:
			return nil
		}
	}
}

// structured is an entry in the second form, which calls a warning "warn".
func structured(e *logs.Entry) *api.StructuredLog {
	level := logs.LevelName(e.Level)
	if level == "warning" {
		level = "warn"
	}
	fields := e.All()
	l := &api.StructuredLog{Time: e.Time, Level: api.StructuredLevel(level), Message: e.Message, Fields: make([]api.LogField, len(fields))}
	for i, f := range fields {
		l.Fields[i] = api.LogField{Key: f.Key, Value: f.Value}
	}
	return l
}
