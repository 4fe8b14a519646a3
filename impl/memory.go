package impl

import (
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// memory is the size of this process, looked up once a second at the most.
type memory struct {
	mu   sync.Mutex
	at   time.Time
	size int64
}

// inUse is the memory in use, in bytes.
func (m *memory) inUse() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.at) >= time.Second {
		m.size, m.at = sysnet.MemoryInUse(), now
	}
	return m.size
}
