package main

import "github.com/spf13/cobra"

func newRun(env) *cobra.Command      { return &cobra.Command{Use: "run"} }
func newValidate(env) *cobra.Command { return &cobra.Command{Use: "validate"} }
