package main

import "github.com/spf13/cobra"

func newQueueCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "queue"} }
