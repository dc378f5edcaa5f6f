package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/store"
)

var version = "dev"

func buildTime() time.Time { return time.Time{} }

func archiver(string, *store.Store, device.Identity, *device.Clock, *slog.Logger) func(context.Context) error {
	return nil
}
