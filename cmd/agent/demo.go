package main

import "github.com/spf13/cobra"

func newDemoCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "demo"} }
