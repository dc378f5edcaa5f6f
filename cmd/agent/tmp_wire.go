package main

import "time"

var version = "dev"

func buildTime() time.Time { return time.Time{} }
