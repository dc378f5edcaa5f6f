package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// dialer is the system's, with TCP_USER_TIMEOUT: data that nobody acknowledges
// ends the connection. TCP's own keepalive is off, because MQTT has one and
// each costs data on a SIM.
func dialer() *net.Dialer {
	return &net.Dialer{
		Timeout:   connectTimeout,
		KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
			if err != nil {
				return err
			}
			return failed
		},
	}
}

// tlsConfig is the configured one with what this package adds; nil when no
// broker needs it. It is made once, so that sessions are resumed.
func (l *Link) tlsConfig() *tls.Config {
	secure := false
	for _, b := range l.brokers {
		secure = secure || b.secure
	}
	if !secure {
		return nil
	}
	c := &tls.Config{}
	if l.o.TLS != nil {
		c = l.o.TLS.Clone()
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(2 * len(l.brokers))
	}
	c.Time = l.o.Clock.Wall
	return c
}

// Reach connects to a broker, TLS included, and leaves again without logging in.
// secure may be nil.
func Reach(ctx context.Context, broker string, secure *tls.Config) error {
	b, err := parseBroker(broker)
	if err != nil {
		return err
	}
	l := &Link{o: Options{Dial: dialer().DialContext}, tls: secure}
	conn, _, err := l.dial(ctx, b)
	if err != nil {
		return err
	}
	return conn.Close()
}

// dial connects to a broker, TLS included. raw is what ends it at once.
func (l *Link) dial(ctx context.Context, b broker) (conn, raw net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	raw, err = l.o.Dial(ctx, "tcp", b.addr)
	if err != nil {
		return nil, nil, fmt.Errorf("dial: %w", err)
	}
	if !b.secure {
		return raw, raw, nil
	}
	c := l.tls
	if c.ServerName == "" {
		c = c.Clone()
		c.ServerName = b.host
	}
	secured := tls.Client(raw, c)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	return secured, raw, nil
}
