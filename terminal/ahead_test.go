package terminal_test

import (
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/display"
	_ "github.com/ssg-safe/agent/internal/bubbles"
)

// While the accepted code is being recorded the display may make its symbol, and
// nobody sees it; when it is recorded it is shown.
func TestCodeGoesAheadOfItsCommit(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		commits := 0
		held := make(chan struct{})
		r.commit = func(tx *bbolt.Tx) error {
			if commits++; commits == 2 {
				<-held
			}
			return tx.Commit()
		}
		r.start()
		commits = 0
		r.keys("1234E")
		synctest.Wait()
		ahead := r.shows(display.Creating)
		if ahead.Ahead == "" || ahead.Code != "" {
			r.Errorf("while the code is being recorded: ahead %t, code %t; want it ahead only", ahead.Ahead != "", ahead.Code != "")
		}
		close(held)
		synctest.Wait()
		if v := r.shows(display.QR); v.Code != ahead.Ahead || v.Ahead != "" {
			r.Errorf("recorded: another code is shown, or one is still ahead")
		}
	})
}
