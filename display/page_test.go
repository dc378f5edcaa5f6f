package display

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleHint: the hint is whole on every size, and on no other screen.
func TestIdleHint(t *testing.T) {
	o := testOptions()
	o.Hint = "Menu: ESC\u00a00\u00a00\u00a0ENTER, número 1, PIN 407193"
	for _, size := range append(sizes, struct {
		name string
		w, h int
	}{"smallest", minCols, minRows}) {
		p, _ := shoot(t, o, sample(Idle), size.w, size.h)
		flat := strings.Join(strings.Fields(p.String()), " ")
		for _, want := range []string{"ESC 0 0 ENTER", "PIN 407193"} {
			if !strings.Contains(flat, want) {
				t.Errorf("%s: no %q in\n%s", size.name, want, p)
			}
		}
		if p, _ := shoot(t, o, sample(Paid), size.w, size.h); strings.Contains(p.String(), "407193") {
			t.Errorf("%s: the hint is on the paid screen", size.name)
		}
	}
}

// TestPageIsNotLogged: what a page says stays out of what a View prints.
func TestPageIsNotLogged(t *testing.T) {
	v := View{State: Operator, Page: &Page{Title: "hidden-title", Lines: []PageLine{{Name: "hidden-name"}}}}
	if text := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); strings.Contains(text, "hidden") {
		t.Errorf("it prints %s", text)
	}
}

// TestPageHoldsAnything: controls and scripts from outside move no cursor, and a
// page without anything is drawn.
func TestPageHoldsAnything(t *testing.T) {
	for _, page := range []*Page{
		nil,
		{},
		{Title: strings.Repeat("título ", 40), Who: strings.Repeat("x", 200), Notice: strings.Repeat("y", 500), Busy: true},
		{Title: "a\x1b[2Jb\nc", Lines: []PageLine{{Name: "n\r", Value: "日本語\x00"}}, Choices: []Choice{{Key: "1", Does: strings.Repeat("long ", 90), Detail: "d"}}},
	} {
		for _, size := range sizes {
			p, _ := shoot(t, testOptions(), View{State: Operator, Page: page}, size.w, size.h)
			if strings.ContainsAny(p.String(), "\x1b\x00\r") {
				t.Errorf("%s: control characters reach the screen", size.name)
			}
		}
	}
}

// TestBusyPageMoves: what is being done is seen to be.
func TestBusyPageMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		screen := simulation(t, 80, 25)
		o.Screen = screen
		d := New(o)
		d.Show(View{State: Operator, Page: &Page{Title: "x", Busy: true}})
		started(t, d)
		first := snapshot(screen).String()
		time.Sleep(2 * frame)
		synctest.Wait()
		if snapshot(screen).String() == first {
			t.Error("nothing moves")
		}
	})
}
