module hostwright/lab/miniflux

require (
	miniflux.app/v2 v2.2.10
	github.com/PuerkitoBio/goquery v1.10.3
	github.com/andybalholm/brotli v1.1.1
	github.com/coreos/go-oidc/v3 v3.14.1
	github.com/go-webauthn/webauthn v0.13.0
	github.com/gorilla/mux v1.8.1
	github.com/lib/pq v1.10.9
	github.com/mattn/go-sqlite3 v1.14.28
	github.com/prometheus/client_golang v1.22.0
	github.com/tdewolff/minify/v2 v2.23.8
	golang.org/x/crypto v0.39.0
	golang.org/x/image v0.28.0
	golang.org/x/net v0.41.0
	golang.org/x/oauth2 v0.30.0
	golang.org/x/term v0.32.0
)

require (
	github.com/go-webauthn/x v0.1.21 // indirect
	github.com/golang-jwt/jwt/v5 v5.2.2 // indirect
	github.com/google/go-tpm v0.9.5 // indirect
)

require (
	github.com/andybalholm/cascadia v1.3.3 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/fxamacker/cbor/v2 v2.8.0 // indirect
	github.com/go-jose/go-jose/v4 v4.0.5 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/mitchellh/mapstructure v1.5.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.1 // indirect
	github.com/prometheus/common v0.62.0 // indirect
	github.com/prometheus/procfs v0.15.1 // indirect
	github.com/tdewolff/parse/v2 v2.8.1 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/sys v0.33.0 // indirect
	golang.org/x/text v0.26.0 // indirect
	google.golang.org/protobuf v1.36.5 // indirect
)

go 1.24.0

