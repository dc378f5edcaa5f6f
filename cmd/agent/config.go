package main

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/zone"
)

// The structs below are the schema of the configuration file: their tags are its
// keys, defaults and limits (package internal/config), and their comments are its
// reference, docs/configuration.md, which a test makes from them. Address the
// comments to who edits the file.

// Config is the configuration of one terminal.
type Config struct {
	// The version of this file's form. This agent reads version 1.
	Version int `toml:"version" required:"true" example:"1"`
	// The folder of everything that must survive: ledger, queue, identity. It
	// belongs on the data partition, to the agent's user alone.
	Data      string           `toml:"data" required:"true" example:"/var/lib/ssg-agent"`
	Terminal  TerminalConfig   `toml:"terminal"`
	Merchants []MerchantConfig `toml:"merchant" required:"true" min:"1" max:"100"`
	Providers []ProviderConfig `toml:"provider" required:"true" min:"1" max:"16"`
	Offline   OfflineConfig    `toml:"offline"`
	Reconcile ReconcileConfig  `toml:"reconcile"`
	Printer   PrinterConfig    `toml:"printer"`
	Display   DisplayConfig    `toml:"display"`
	Store     StoreConfig      `toml:"store"`
	Archive   ArchiveConfig    `toml:"archive"`
	Fleet     FleetConfig      `toml:"fleet"`
	API       APIConfig        `toml:"api"`
	Facade    FacadeConfig     `toml:"facade"`
	Operators []OperatorConfig `toml:"operator" max:"32"`
	Log       LogConfig        `toml:"log"`
}

// TerminalConfig is the terminal itself and how its charges run.
type TerminalConfig struct {
	// Four letters (A-Z) and digits that begin every charge id this terminal
	// makes. Assigned, and different on every terminal that shares a PIX key.
	Code string `toml:"code" required:"true" example:"T001"`
	// What people call the terminal, such as "Cofre 2, caixa central".
	Name string `toml:"name" max:"40"`
	// The language of the screen and of doctor. Slips are Portuguese.
	Locale string `toml:"locale" default:"pt-BR" oneof:"pt-BR en"`
	// The smallest charge that can be made.
	MinAmount money.Amount `toml:"min_amount" default:"1.00" min:"0.01" max:"9999999999.99"`
	// The largest charge that can be made.
	MaxAmount money.Amount `toml:"max_amount" default:"5000.00" min:"0.01" max:"9999999999.99"`
	// How long a code can be paid.
	ChargeExpiry time.Duration `toml:"charge_expiry" default:"5m" min:"10s" max:"24h"`
	// How long the screen goes on asking the provider after a code expired or was
	// cancelled, because people pay in the last second. Later payments are found
	// too, but no longer on the screen.
	VerifyGrace time.Duration `toml:"verify_grace" default:"30s" min:"0s" max:"10m"`
	// How long the screen says that a charge was paid.
	PaidScreen time.Duration `toml:"paid_screen" default:"8s" min:"1s" max:"5m"`
}

// MerchantConfig is who is paid. Charges made at the keypad are the first
// merchant's.
type MerchantConfig struct {
	// The merchant's name in the ledger: small letters, digits and hyphens.
	// Never change it.
	ID string `toml:"id" required:"true" example:"loja"`
	// The merchant's CNPJ, 14 digits or capital letters without punctuation.
	CNPJ string `toml:"cnpj" mask:"true" required:"true" example:"11222333000181"`
	// The merchant's name on screen, slips and in codes, where accents are left
	// out.
	Name string `toml:"name" required:"true" example:"Padaria São João" max:"25"`
	// The merchant's city in codes.
	City string `toml:"city" required:"true" example:"São Paulo" max:"15"`
	// The PIX key that receives the money, exactly as registered: CPF or CNPJ
	// without punctuation, phone with +55, e-mail in small letters, or random key.
	PixKey string `toml:"pix_key" mask:"true" required:"true" example:"+5511999990000"`
	// The name of the [[provider]] that makes this merchant's charges. Needed, unless
	// there are [[merchant.route]] tables.
	Provider string `toml:"provider"`
	// The merchant's account at the provider. SSG: account_id, a UUID. Bacen: a
	// name of your own for it, which makes evidence of payments whole (grade A). The
	// others: none.
	Account string `toml:"account"`
	// Lines at the head of every slip, such as the address. 48 characters fit on
	// 80 mm paper, 32 on 58 mm.
	Header []string `toml:"header" max:"6"`
	// The zone whose midnight counts; an IANA name. A machine without a zone
	// database knows Brazil's.
	TimeZone string `toml:"time_zone" default:"America/Sao_Paulo"`
	// The hour at which the business day ends and is closed. One until noon ends
	// the day before ("03:00" for a bar), one after noon begins the next day.
	CutOff TimeOfDay `toml:"cut_off" default:"00:00"`
	// In place of provider and account.
	Routes []RouteConfig `toml:"route" max:"4"`
}

// RouteConfig is one of several providers that make a merchant's charges, in order
// of preference, in place of provider and account: while the first cannot, the next
// does (docs/providers.md). All must pay the same company. Give each table after the
// merchant's other keys.
type RouteConfig struct {
	// The name of the [[provider]].
	Provider string `toml:"provider" required:"true" example:"ssg"`
	// The merchant's account there, as for a merchant with one provider.
	Account string `toml:"account"`
	// The CNPJ of the owner of that account, as the contract with the provider names
	// it. It must be the merchant's own: no provider tells whose money it collects,
	// so this is the operator's word.
	Beneficiary string `toml:"beneficiary" mask:"true" required:"true" example:"11222333000181"`
	// The PIX key that receives the money there, if it is another than the merchant's:
	// a key belongs to one institution.
	PixKey string `toml:"pix_key" mask:"true"`
}

// ProviderConfig is a company that makes charges.
type ProviderConfig struct {
	// What merchants call it in provider = "…".
	Name string `toml:"name" required:"true" example:"ssg"`
	// Which provider it is.
	Type string `toml:"type" required:"true" example:"ssg" oneof:"ssg bacen bspay bspaybr basspago"`
	// The base address of its interface, path and all. Bacen: empty where the
	// profile knows it.
	URL string `toml:"url"`
	// Allows a url with http://. Whoever sits between terminal and provider can
	// then read the credentials and forge payments: only through a VPN, or to a
	// simulator on the same machine.
	AllowInsecureHTTP bool `toml:"allow_insecure_http" default:"false"`
	// The client id of this terminal or site.
	ClientID string `toml:"client_id" required:"true" example:"kiosk-1"`
	// Where the client's secret is. SSG: whoever has it can mark charges as paid;
	// ask for a client without that right.
	ClientSecret config.Secret `toml:"client_secret" required:"true" example:"{ credential = \"ssg.secret\" }"`
	// What happens to a code whose checksum, amount, key or host is not what it
	// should be: "strict" refuses it; "warn" shows it to the payer all the same and
	// says so in the log, for a provider whose codes are known to be odd.
	BRCodeCheck string `toml:"brcode_check" default:"strict" oneof:"strict warn"`
	// The hosts that the locations in dynamic codes may have. Empty: any.
	AllowedHosts []string `toml:"allowed_hosts" max:"32"`
	// The most requests a second, with bursts of five; questions whether charges
	// were paid are at most a fifth of them. No provider states a limit. Providers with
	// one credential share it.
	RequestsPerSecond int `toml:"requests_per_second" default:"2" min:"1" max:"100"`
	// The CNPJ of the institution that brings the money, which fiscal documents
	// name, 14 characters without punctuation. The local API tells it.
	CNPJ string `toml:"cnpj"`
	// Data of the payer that the provider demands of every charge.
	Payer *PayerConfig `toml:"payer"`
	// Settings of a bank with API Pix.
	Bacen *BacenConfig `toml:"bacen"`
	// Settings of BSPAY and its relatives.
	Bspay *BspayConfig `toml:"bspay"`
	// Settings of Bspaybr and its relatives.
	Bspaybr *BspaybrConfig `toml:"bspaybr"`
	// Settings of Bass Pago's Paycheckout.
	Basspago *BasspagoConfig `toml:"basspago"`
}

// PayerConfig is what is sent as the payer when the charge does not name one.
// Use only data that the provider accepted in writing; nothing is ever
// invented.
type PayerConfig struct {
	// Name of person or company.
	Name redact.Name `toml:"name" max:"255"`
	// CPF or CNPJ without punctuation.
	Document redact.Document `toml:"document"`
	// E-mail address.
	Email redact.Email `toml:"email" max:"255"`
	// Street and number.
	Address redact.Text `toml:"address" max:"255"`
	// District (bairro).
	District redact.Text `toml:"district" max:"255"`
	// City.
	City redact.Text `toml:"city" max:"255"`
	// Two capital letters, such as "SP".
	State string `toml:"state"`
	// CEP, eight digits without a hyphen.
	Postcode redact.Text `toml:"postcode"`
}

// OfflineConfig is what happens while a provider cannot be reached; docs/offline.md
// says more.
type OfflineConfig struct {
	// hold: the terminal makes codes of its own where their payment can be found
	// later, and nothing leaves before. release_up_to: goods may leave on the
	// payer's word, within the limits below. deny: PIX is unavailable.
	Policy string `toml:"policy" default:"hold" oneof:"hold release_up_to deny"`
	// Who finds the payments of such codes: provider, where its interface lists
	// them (bacen); or statement, for any provider: two people with the bank's
	// statement, by `ssg-agent offline match`.
	Match string `toml:"match" default:"provider" oneof:"provider statement"`
	// The largest charge that goods leave for.
	PerCharge money.Amount `toml:"per_charge" default:"0.00" min:"0.00" max:"9999999999.99"`
	// The most that goods may be out for, in all.
	Sum money.Amount `toml:"sum" default:"0.00" min:"0.00" max:"9999999999.99"`
	// The most charges that goods may be out for.
	Count int `toml:"count" default:"0" min:"0" max:"1000"`
	// How old the oldest of them may be: when it is older, nothing more leaves.
	Age time.Duration `toml:"age" default:"0s" min:"0s" max:"720h"`
	// How long such a code is looked for: its payment, and second ones. An unpaid
	// one is expired then.
	Watch time.Duration `toml:"watch" default:"720h" min:"1h" max:"8640h"`
}

// ReconcileConfig is how the ledger is compared with what the providers say;
// docs/reconciliation.md says more.
type ReconcileConfig struct {
	// How many days back the daily comparison goes; every hour the last three hours
	// are compared. 0: only when somebody asks (`ssg-agent reconcile`).
	Days int `toml:"days" default:"7" min:"0" max:"31"`
	// Whose business the differences are: a role, not a person, for the ledger keeps
	// it for ever.
	Owner string `toml:"owner" default:"financeiro"`
	// How long the owner has for each.
	Deadline time.Duration `toml:"deadline" default:"72h" min:"1h" max:"2160h"`
	// Whether others are paid into the accounts at the providers, too, such as a web
	// shop. What names no charge is then counted and is nobody's business here;
	// otherwise it is a ticket. Terminals of this kind are told apart in any case.
	SharedAccounts bool `toml:"shared_accounts" default:"false"`
}

// PrinterConfig is the slip printer.
type PrinterConfig struct {
	// How the printer is connected: serial, usb (/dev/usb/lp…), tcp, file (bytes
	// are written to path), virtual (slips become pictures in the folder
	// path), or none.
	Kind string `toml:"kind" default:"none" oneof:"serial usb tcp file virtual none"`
	// Device, file or folder, by kind. Name devices by udev or /dev/serial/by-id/,
	// never ttyUSB0: it changes when plugs are swapped.
	Path string `toml:"path"`
	// Host and port of a tcp printer, such as "192.168.1.50:9100".
	Address string `toml:"address"`
	// Speed of the serial line in bit/s, as set in the printer.
	Baud int `toml:"baud" default:"9600" min:"300" max:"4000000"`
	// Flow control of the serial line: rtscts where the cable has the wires,
	// xonxoff where the printer is set to it, none loses bytes when the printer
	// is slow.
	Flow string `toml:"flow" default:"none" oneof:"none xonxoff rtscts"`
	// What the printer understands: "epson-80" for 80 mm paper, "epson-58" for 58 mm.
	Profile string `toml:"profile" default:"epson-80"`
}

// DisplayConfig is the screen.
type DisplayConfig struct {
	// terminal draws on a text console, none runs without a screen.
	Kind string `toml:"kind" default:"terminal" oneof:"terminal none"`
	// The console to draw on, such as "/dev/tty1". Empty: the one the agent was
	// started on.
	TTY string `toml:"tty"`
}

// StoreConfig is the file that holds ledger and queue.
type StoreConfig struct {
	// Size of the file. It is filled when it is created, so that a full disk never
	// stops the terminal in the middle of a payment. Used at creation only.
	Size config.Size `toml:"size" default:"128MiB" min:"1MiB" max:"1GiB"`
}

// ArchiveConfig is the copy of the ledger at sites without a hub.
type ArchiveConfig struct {
	// The folder of the copy, best on another device. Empty: no copy is written.
	Dir string `toml:"dir"`
}

// FleetConfig is the link to the fleet over MQTT. Without brokers there is none.
type FleetConfig struct {
	// Addresses of the brokers, tried in turn: "ssl://host:8883", or "tcp://host:1883"
	// on a network that nobody else can reach.
	Brokers []string `toml:"brokers" max:"8"`
	// Who the terminal belongs to, and where it stands, as the hub's registry has
	// it: small letters, digits and hyphens.
	Tenant string `toml:"tenant"`
	// The site.
	Site string `toml:"site"`
	// User name at the broker. Empty: the client certificate names the terminal.
	Username string `toml:"username" max:"128"`
	// Password at the broker.
	Password config.Secret `toml:"password"`
	// PEM file of the authorities that may vouch for the broker. Empty: those of
	// the system.
	CA string `toml:"ca"`
	// PEM file of the terminal's client certificate.
	Certificate string `toml:"certificate"`
	// PEM file of its private key.
	PrivateKey string `toml:"private_key"`
	// The hub's public signing keys, as `ssg-hub keys pin` prints them; two while one
	// takes over from the other. Nothing else may move money or acknowledge entries.
	HubKeys []string `toml:"hub_keys" max:"2"`
	// How the terminal names itself to the broker: device where the broker binds
	// that name to the credentials, random where it cannot (NATS).
	ClientID string `toml:"client_id" default:"device" oneof:"device random"`
	// How often a silent link is tried. 5m saves data where the carrier allows it.
	Keepalive time.Duration `toml:"keepalive" default:"60s" min:"10s" max:"5m"`
	// Status messages of a fleet that runs other software. They are hints: the
	// provider is asked.
	Mapping *MappingConfig `toml:"mapping"`
}

// MappingConfig is where a foreign fleet's messages say what the terminal needs.
type MappingConfig struct {
	// The topic, such as "acme/{device}/pix/{charge}/status"; + is any level.
	Topic string `toml:"topic" required:"true" example:"acme/{device}/status"`
	// JSON pointer to the charge's id. Empty: the topic has {charge}.
	Charge string `toml:"charge"`
	// JSON pointer to the status word. Empty: every message is a hint.
	Status string `toml:"status"`
	// The status words that are worth asking the provider for.
	Words []string `toml:"words" max:"32"`
}

// APIConfig is the local API, by which software beside the terminal makes and
// watches charges (docs/local-api.md).
type APIConfig struct {
	// Where it listens: host and port of this machine, "127.0.0.1:8017", or a
	// socket, "unix:/run/ssg-agent/api.sock", which its group may use. Empty: there
	// is no API.
	Listen string `toml:"listen"`
	// Allows an address that other machines reach. Then a certificate is needed.
	AllowRemote bool `toml:"allow_remote" default:"false"`
	// PEM file of the API's own certificate.
	Certificate string `toml:"certificate"`
	// PEM file of its private key.
	PrivateKey string `toml:"private_key"`
	// Other names by which clients call this machine, without the port. Requests
	// for any other Host are refused: a web page could have made them.
	Hosts []string `toml:"hosts" max:"16"`
	// Web pages that may use the API from a browser, such as
	// "https://pdv.example.com". Requests of any other are refused.
	Origins []string `toml:"origins" max:"16"`
	// Who may use it.
	Tokens []APITokenConfig `toml:"token" max:"16"`
}

// APITokenConfig is one client of the local API.
type APITokenConfig struct {
	// The client's name: small letters, digits and hyphens. It stands in the ledger
	// beside the charges it makes ("api:pdv"), and its references are its own:
	// never change it.
	Name string `toml:"name" required:"true" example:"pdv"`
	// What it may do: charge (make charges, cancel its own), read (charges, events,
	// ledger, state), ops (copies of slips, the queue, cancel any charge).
	Scopes []string `toml:"scopes" required:"true" min:"1" max:"3"`
	// The token, 32 characters or more: openssl rand -hex 32.
	Secret config.Secret `toml:"secret" required:"true" example:"{ credential = \"api-pdv.token\" }"`
}

// OperatorConfig is somebody who may open the operator menu on the screen. Without
// any there is no menu.
type OperatorConfig struct {
	// The number that is typed at the keypad, 1 to 6 digits. It stands in the ledger
	// beside what the operator does ("operator:12"): never give it to anybody else.
	ID string `toml:"id" required:"true" example:"12"`
	// What the menu calls the operator.
	Name string `toml:"name" required:"true" example:"Maria" max:"16"`
	// What the operator may do. attendant: print slips again, see what is pending.
	// supervisor: and close the day, decide about slips. technician: and see state and
	// configuration, examine the terminal.
	Role string `toml:"role" required:"true" example:"attendant" oneof:"attendant supervisor technician"`
	// The hash of the operator's PIN, made by `ssg-agent operator hash`. It may be
	// written here as it is, but whoever reads it finds the PIN within hours: better a
	// file of its own, like other secrets.
	PIN config.Secret `toml:"pin" required:"true" inline:"true" example:"{ credential = \"operator-12.pin\" }"`
}

// LogConfig is what is written to standard error, which systemd takes to the
// journal.
type LogConfig struct {
	// The least important messages to write.
	Level string `toml:"level" default:"info" oneof:"debug info warn error"`
	// text for people, json for collectors.
	Format string `toml:"format" default:"text" oneof:"text json"`
}

// Merchant is the merchant with an id; "" is the first one, whose charges are
// made at the keypad.
func (c Config) Merchant(id string) (MerchantConfig, bool) {
	for _, m := range c.Merchants {
		if id == "" || m.ID == id {
			return m, true
		}
	}
	return MerchantConfig{}, false
}

// Ways are the merchant's routes, the short form among them, in order of preference;
// at least one.
func (m MerchantConfig) Ways() []RouteConfig {
	if len(m.Routes) == 0 {
		return []RouteConfig{{Provider: m.Provider, Account: m.Account, Beneficiary: m.CNPJ, PixKey: m.PixKey}}
	}
	ways := slices.Clone(m.Routes)
	for i := range ways {
		ways[i].PixKey = cmp.Or(ways[i].PixKey, m.PixKey)
	}
	return ways
}

// providers are their names.
func (m MerchantConfig) providers() []string {
	var names []string
	for _, w := range m.Ways() {
		names = append(names, w.Provider)
	}
	return names
}

// Uses reports whether one of them is by a provider.
func (m MerchantConfig) Uses(provider string) bool {
	return slices.Contains(m.providers(), provider)
}

// Provider is the provider with a name.
func (c Config) Provider(name string) (ProviderConfig, bool) {
	for _, p := range c.Providers {
		if p.Name == name {
			return p, true
		}
	}
	return ProviderConfig{}, false
}

// Zone is the merchant's time zone; UTC when its name is not valid, which
// [Config.Validate] reports.
func (m MerchantConfig) Zone() *time.Location {
	z, err := zone.Load(m.TimeZone)
	if err != nil {
		return time.UTC
	}
	return z
}

// TimeOfDay is an hour and minute, counted from midnight.
type TimeOfDay time.Duration

// UnmarshalText reads "HH:MM".
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	at, err := time.Parse("15:04", string(text))
	if err != nil || len(text) != len("15:04") {
		return &config.ValueError{Complaint: "is not a time of day", Remedy: `write hour and minute: "00:00" to "23:59"`}
	}
	*t = TimeOfDay(time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute)
	return nil
}

// String is "HH:MM".
func (t TimeOfDay) String() string {
	return time.Time{}.Add(time.Duration(t)).Format("15:04")
}

// defaultConfig is what a file that says nothing would mean.
func defaultConfig() Config {
	var c Config
	config.Defaults(&c)
	return c
}

// loadConfig reads and checks a configuration. The problems are all that was
// found, in the order of the file; the error is an [*config.Invalid] that lists
// them when one of them is more than a warning, or says why the file cannot be
// read. Either is wrong usage (exit code 2). outsideUnit is true for commands
// that a technician runs by hand, see [config.Options].
func loadConfig(path string, outsideUnit bool) (Config, []config.Problem, error) {
	return readConfig(path, config.Options{LookupEnv: os.LookupEnv, OutsideUnit: outsideUnit})
}

// loadSettings is loadConfig for commands that need no secret, such as those that a
// running agent does for them: secrets are left unread, and none need to be there.
func loadSettings(path string) (Config, error) {
	c, _, err := readConfig(path, config.Options{WithoutSecrets: true})
	return c, err
}

func readConfig(path string, o config.Options) (Config, []config.Problem, error) {
	var c Config
	f, err := config.Load(path, &c, o)
	if err != nil {
		return Config{}, nil, err
	}
	f.Report(c.Validate()...)
	return c, f.Problems(), f.Err()
}
