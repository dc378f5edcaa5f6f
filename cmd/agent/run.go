package main

import "github.com/spf13/cobra"

func newRunCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "run"} }
