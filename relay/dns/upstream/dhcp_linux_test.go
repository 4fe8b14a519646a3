package upstream

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// run runs a command that has to succeed; a machine that does not let us make networks skips the test.
func run(t testing.TB, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}

// A real DHCP server, in a network of its own, offers itself as the name server.
func TestDHCPWithDnsmasq(t *testing.T) {
	needs(t, "ip", "dnsmasq")
	if os.Getuid() != 0 {
		t.Skip("only root can make networks")
	}
	leak.Check(t)
	id := strconv.Itoa(os.Getpid() % 100000)
	space, here, there := "sy-dns-"+id, "syd"+id+"a", "syd"+id+"b"
	run(t, "ip", "netns", "add", space)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", space).Run() })
	run(t, "ip", "link", "add", here, "type", "veth", "peer", "name", there)
	t.Cleanup(func() { exec.Command("ip", "link", "del", here).Run() })
	run(t, "ip", "link", "set", there, "netns", space)
	run(t, "ip", "addr", "add", "203.0.113.2/24", "dev", here)
	run(t, "ip", "link", "set", here, "up")
	run(t, "ip", "-n", space, "addr", "add", "203.0.113.1/24", "dev", there)
	run(t, "ip", "-n", space, "link", "set", there, "up")
	daemon(t, "DHCP, IP range", "ip", "netns", "exec", space, "dnsmasq", "--keep-in-foreground", "--log-facility=-",
		"--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--dhcp-authoritative",
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"), "--interface="+there, "--bind-interfaces", "--no-ping",
		"--dhcp-range=203.0.113.100,203.0.113.150,10m", "--dhcp-option=option:dns-server,203.0.113.1,203.0.113.77",
		"--address=/a.example/10.9.8.7")

	o, err := findServers(patient(t), here)
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.77")}
	if len(o.servers) != 2 || o.servers[0] != want[0] || o.servers[1] != want[1] || o.lease != 10*time.Minute {
		t.Errorf("offer %v", o)
	}
	u := New(&nameserver.Server{Scheme: nameserver.DHCP, Device: here}, straight())
	defer u.Close()
	if got := firstA(t, mustAsk(t, u, "a.example", dns.TypeA)); got != "10.9.8.7" {
		t.Errorf("got %s", got)
	}
}

// On the loopback interface no DHCP server answers; its socket and goroutine end with the discovery.
func TestDHCPWithoutServer(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := findServers(ctx, "lo")
	if errors.Is(err, errRights) {
		t.Skip(err)
	}
	if err == nil || err.Error() != "no DHCP server answers" {
		t.Errorf("findServers: %v", err)
	}
}

func TestReadDefaultDevice(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	f := func(table, want string) {
		t.Helper()
		got, err := readDefaultDevice(strings.NewReader(head + table))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", table, got, err, want)
		}
	}
	const other = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	f("", "")
	f(other, "")
	f(other+"eth1\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "eth1")
	f("wlan0\t00000000\t01000A0A\t0003\t0\t0\t600\t00000000\t0\t0\t0\neth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", "eth0")
	f("eth0\t00000000\t0102000A\t0002\t0\t0\t100\t00000000\t0\t0\t0\n", "") // not up
	f("tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", "")   // half of all
	f("eth0\t00000000\nx\t00000000\ta\tzz\t0\t0\t0\t00000000\n", "")        // no table
}
