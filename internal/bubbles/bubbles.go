// Package bubbles makes testing/synctest safe under the race detector. A test
// package with bubbles imports it for that alone:
//
//	import _ "github.com/ssg-safe/agent/internal/bubbles"
//
// In Go 1.26 a timer of a bubble runs with the one race context of the bubble, on
// whatever thread finds it due (runtime/time.go, unlockAndRun). Two threads that
// run two timers of a bubble at a time damage that context, and some time later
// the process dies inside the race detector: SIGSEGV on goroutine 0 "idle,
// synctest bubble", or "ThreadSanitizer: CHECK failed"
// (https://github.com/golang/go/issues/78156). So a process with bubbles gets one
// processor when it is built with -race. The detector compares what is ordered by
// synchronisation, not what happens to run at one time, and finds the same races.
//
// TestWhatFor shows the death, and says so when Go has mended it: then this package
// can go.
package bubbles
