// Package zone finds time zones by name, and knows Brazil's by itself: many boards
// have no zone database, and Go's own weighs as much as all the simulators.
//
// Use [Load] instead of [time.LoadLocation], which fails on such a board.
package zone

import (
	"fmt"
	"sync"
	"time"
)

// brazil holds the hours from UTC that Brazil's zones have kept since daylight
// saving time ended in 2019 (tz database, file southamerica).
var brazil = map[string]int{
	"America/Noronha": -2, "Brazil/DeNoronha": -2,

	"America/Araguaina": -3, "America/Bahia": -3, "America/Belem": -3, "America/Fortaleza": -3, "America/Maceio": -3,
	"America/Recife": -3, "America/Santarem": -3, "America/Sao_Paulo": -3, "Brazil/East": -3,

	"America/Boa_Vista": -4, "America/Campo_Grande": -4, "America/Cuiaba": -4, "America/Manaus": -4, "America/Porto_Velho": -4,
	"Brazil/West": -4,

	"America/Eirunepe": -5, "America/Porto_Acre": -5, "America/Rio_Branco": -5, "Brazil/Acre": -5,
}

// Load returns a time zone by its IANA name. The machine's database comes first,
// because an updated one knows of new laws. Without one, Brazil's zones and UTC
// are known; times before 2019 are then off by an hour in summers. The error
// says that the name is unknown. "" and "Local", which name no place, are unknown.
func Load(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("time zone %q names no place", name)
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		return zone, nil
	}
	if hours, ok := brazil[name]; ok {
		return time.FixedZone(name, hours*60*60), nil
	}
	return nil, fmt.Errorf("time zone %q is not known to this machine: %w", name, err)
}

// SaoPaulo returns the zone of the banks' and most providers' times.
func SaoPaulo() *time.Location { return saoPaulo() }

var saoPaulo = sync.OnceValue(func() *time.Location {
	zone, err := Load("America/Sao_Paulo")
	if err != nil {
		panic("zone: " + err.Error()) // it is in the table
	}
	return zone
})
