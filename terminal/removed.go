package terminal

import (
	"context"
	"errors"
	"time"

	"github.com/ssg-safe/agent/providers"
)

// removed stands in for a provider that has open charges and is not configured
// any more. They stay as they are and harm no other, until it is configured
// again.
type removed string

// Name implements providers.Provider.
func (r removed) Name() string { return string(r) }

// Caps implements providers.Provider.
func (removed) Caps() providers.Caps {
	return providers.Caps{Poll: providers.PollSchedule{
		Open: []providers.PollStep{{Every: time.Hour}}, Late: time.Hour, Times: 24,
	}}
}

// CreateCharge implements providers.Charger.
func (r removed) CreateCharge(context.Context, providers.Intent) (providers.Charge, error) {
	return providers.Charge{}, r.refuse("create")
}

// GetCharge implements providers.StatusReader.
func (r removed) GetCharge(context.Context, providers.Ref) (providers.Charge, error) {
	return providers.Charge{}, r.refuse("status")
}

func (r removed) refuse(op string) error {
	return &providers.Error{
		Provider: string(r), Op: op, Kind: providers.Operator,
		Err: errors.New("not configured any more: configure it again until its charges are settled"),
	}
}
