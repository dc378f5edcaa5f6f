package printer

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Profile is what is known of a model of printer. Profiles are data
// (profiles.toml); a caller may change Rate to that of its serial line.
type Profile struct {
	Name    string `toml:"name"`
	Title   string `toml:"title"`
	Dialect string `toml:"dialect"` // "epson"
	// Tier is the confirmation that the model gives: "A".
	Tier Tier `toml:"tier"`

	Dots         int `toml:"dots"`           // printable width; 8 dots a millimetre
	Columns      int `toml:"columns"`        // of font A
	HeadToCutter int `toml:"head_to_cutter"` // millimetres
	Speed        int `toml:"speed"`          // millimetres a second

	Rate  int           `toml:"rate"`  // bytes a second that the line carries
	Chunk int           `toml:"chunk"` // bytes written at once
	Stall time.Duration `toml:"-"`     // how long one chunk may be held up

	// RealTimeLock: knows the command that disables the real-time drawer pulse
	// and power-off.
	RealTimeLock bool `toml:"realtime_lock"`

	QR QRProfile `toml:"qr"`
}

// QRProfile is what the printer's own QR command can do.
type QRProfile struct {
	MinModule int `toml:"min_module"` // dots a module
	MaxModule int `toml:"max_module"`
	MaxBytes  int `toml:"max_bytes"`
}

const dotsPerMM = 8

//go:embed profiles.toml
var profilesTOML string

var loadProfiles = sync.OnceValues(func() ([]Profile, error) {
	var file struct {
		Profile []struct {
			Profile
			Stall string `toml:"stall"`
		} `toml:"profile"`
	}
	dec := toml.NewDecoder(strings.NewReader(profilesTOML)).DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	ps := make([]Profile, len(file.Profile))
	for i, f := range file.Profile {
		ps[i] = f.Profile
		d, err := time.ParseDuration(f.Stall)
		if err != nil {
			return nil, fmt.Errorf("profile %s: stall: %w", f.Name, err)
		}
		ps[i].Stall = d
	}
	return ps, nil
})

// ErrNoProfile: there is no profile of that name.
var ErrNoProfile = errors.New("no such printer profile")

// Profiles lists the profiles that come with the program.
func Profiles() []Profile {
	ps, err := loadProfiles()
	if err != nil {
		panic("printer: embedded profiles: " + err.Error()) // a build that fails its tests
	}
	return append([]Profile(nil), ps...)
}

// ProfileByName finds a profile. The error wraps [ErrNoProfile] and lists the
// names there are.
func ProfileByName(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("%q: %w (there are: %s)", name, ErrNoProfile, strings.Join(names, ", "))
}

func (p Profile) lineTime(n int) time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	return time.Duration(n) * time.Second / time.Duration(p.Rate)
}

func (p Profile) paperTime(mm int) time.Duration {
	if p.Speed <= 0 {
		return 0
	}
	return time.Duration(mm) * time.Second / time.Duration(p.Speed)
}
