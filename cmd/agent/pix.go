package main

import "github.com/spf13/cobra"

func newPixCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "pix"} }
