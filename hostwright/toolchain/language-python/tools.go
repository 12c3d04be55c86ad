//go:build tools

// Package tools names the program that is built from this module's pins.
package tools

import _ "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
