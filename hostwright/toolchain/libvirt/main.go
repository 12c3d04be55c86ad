// Command pulumi-resource-libvirt bridges terraform-provider-libvirt under the names that the
// Python package pulumi-libvirt 0.5.4 asks for. The upstream plug-in is no longer maintained, so
// where its release cannot be had, this builds its like from the Go modules it was made of.
package main

import (
	"github.com/dmacvicar/terraform-provider-libvirt/libvirt"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

const version = "0.5.4"

// Type tokens as the SDK has them: module in camel case, type in Pascal case.
var resources = map[string]string{
	"libvirt_cloudinit_disk": "libvirt:index/cloudInitDisk:CloudInitDisk",
	"libvirt_combustion":     "libvirt:index/combustion:Combustion",
	"libvirt_domain":         "libvirt:index/domain:Domain",
	"libvirt_ignition":       "libvirt:index/ignition:Ignition",
	"libvirt_network":        "libvirt:index/network:Network",
	"libvirt_pool":           "libvirt:index/pool:Pool",
	"libvirt_volume":         "libvirt:index/volume:Volume",
}

func main() {
	info := tfbridge.ProviderInfo{
		P:           shim.NewProvider(libvirt.Provider()),
		Name:        "libvirt",
		Version:     version,
		Resources:   map[string]*tfbridge.ResourceInfo{},
		DataSources: map[string]*tfbridge.DataSourceInfo{},
		Config: map[string]*tfbridge.SchemaInfo{
			"uri": {Default: &tfbridge.DefaultInfo{EnvVars: []string{"LIBVIRT_DEFAULT_URI"}}},
		},
	}
	for name, token := range resources {
		info.Resources[name] = &tfbridge.ResourceInfo{Tok: tokens.Type(token)}
	}
	tfbridge.Main("libvirt", version, info, []byte(`{"name":"libvirt","version":"`+version+`"}`))
}
