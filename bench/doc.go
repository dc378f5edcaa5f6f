// Package bench compares the agent's durable store with other people's: dque, a
// queue of segment files, and an outbox in SQLite. It is a module of its own, so
// that the program knows none of them.
//
//	cd bench && go test -bench . -benchtime 2s
package bench
