//go:build tools

// Package tools names the program that is built from this module's pins.
package tools

import _ "github.com/traefik/traefik/v3/cmd/traefik"
