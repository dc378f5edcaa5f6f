package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/ssg-safe/agent/redact"
)

// Secret is a credential that the file refers to, and contains only where the tag
// inline:"true" allows it. It is written as one of
//
//	{ env = "NAME" }         an environment variable
//	{ file = "/path" }       a file of its own, readable by the service only
//	{ credential = "name" }  a systemd credential (LoadCredential=) of the unit
//
// Decoding reads it; one newline at the end of a file is cut off.
type Secret struct {
	// Source is "env", "file", "credential" or "inline"; empty when there is no
	// secret.
	Source string
	// Name is the variable, path or credential; "" of one that is inline.
	Name string
	// Value is what was found there.
	Value redact.Secret
}

const (
	secretForms = `{ env = "NAME" }, { file = "/path" } or { credential = "name" }`
	maxSecret   = 64 << 10
)

// What a name looks like. Somebody may have put the secret itself where its name
// belongs, so a name of another form is not repeated in messages.
var (
	envName        = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)
	credentialName = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,31}$`)
)

// secret decodes a reference and reads what it refers to: one line, unless the
// field says that it is a file of any content; or the text itself, where the field
// allows that.
func (d *decoder) secret(n *node, path string, f field) Secret {
	if f.inline && n.kind == scalarNode && isString(n) {
		switch c := control(n.text); {
		case c != "":
			d.fail(n, path, c, "leave it out")
			return Secret{}
		case n.text == "":
			d.fail(n, path, "is empty", "write it, or refer to it: "+secretForms)
			return Secret{}
		}
		return Secret{Source: "inline", Value: redact.Secret(n.text)}
	}
	if n.kind != tableNode {
		d.fail(n, path, "a secret is not written into this file", "refer to it: "+secretForms)
		return Secret{}
	}
	s := Secret{}
	for _, name := range n.names {
		child, at := n.fields[name], join(path, name)
		switch {
		case name != "env" && name != "file" && name != "credential":
			d.fail(child, at, "not a key of a secret", "write "+secretForms)
		case s.Source != "":
			d.fail(n, path, "a secret has one source", "write one of "+secretForms)
		case child.kind != scalarNode || !isString(child):
			d.fail(child, at, "must be text in quotes", "write "+secretForms)
		default:
			s.Source, s.Name = name, child.text
			continue
		}
		return Secret{}
	}
	if s.Source == "" {
		d.fail(n, path, "says nothing", "write "+secretForms)
		return Secret{}
	}
	if d.opts.WithoutSecrets {
		return s
	}
	at := join(path, s.Source)
	value, complaint, remedy := d.readSecret(n, at, s, f.whole)
	if complaint != "" {
		d.file.failed[path] = true
		d.fail(n.fields[s.Source], at, complaint, remedy)
		return Secret{}
	}
	s.Value = redact.Secret(value)
	return s
}

// readSecret finds the value of a reference. No value and no complaint is a
// credential that is not to be had here.
func (d *decoder) readSecret(n *node, path string, s Secret, whole bool) (value, complaint, remedy string) {
	lookup := d.opts.LookupEnv
	if lookup == nil {
		lookup = func(string) (string, bool) { return "", false }
	}
	switch s.Source {
	case "env":
		if !envName.MatchString(s.Name) {
			return "", "not the name of an environment variable", "write its name, in capital letters: { env = \"SSG_CLIENT_SECRET\" }"
		}
		v, ok := lookup(s.Name)
		if !ok {
			return "", fmt.Sprintf("the environment variable %s is not set", s.Name), fmt.Sprintf("set %s, or use { file = … }", s.Name)
		}
		value = v
	case "file":
		if !filepath.IsAbs(s.Name) {
			return "", "not an absolute path", `write the whole path: { file = "/etc/ssg-agent/secrets/NAME" }`
		}
		text, mode, err := readFile(s.Name, maxSecret)
		if err != nil {
			return "", readComplaint(s.Name, err), "put the secret there, readable by the service: chmod 600 and chown to its user"
		}
		if mode&0o027 != 0 {
			d.warn(n.fields["file"], path, fmt.Sprintf("%s has mode %04o: others than the service can read or change it", s.Name, mode.Perm()), "chmod 600 "+s.Name)
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	case "credential":
		if !credentialName.MatchString(s.Name) {
			return "", "not the name of a credential", "write the name of a LoadCredential= line: { credential = \"ssg.secret\" }"
		}
		folder, ok := lookup("CREDENTIALS_DIRECTORY")
		if !ok {
			complaint = fmt.Sprintf("the credential %s cannot be looked at: systemd gives credentials to its unit only", s.Name)
			if d.opts.OutsideUnit {
				d.warn(n.fields["credential"], path, complaint, "nothing to do if the unit has its LoadCredential= line; to check the secret, too, name its folder: CREDENTIALS_DIRECTORY=FOLDER before the command")
				return "", "", ""
			}
			return "", complaint, "start the agent by its unit, name the folder of the secrets (CREDENTIALS_DIRECTORY=FOLDER before the command), or use { file = … }"
		}
		text, _, err := readFile(filepath.Join(folder, s.Name), maxSecret)
		if err != nil {
			return "", readComplaint(s.Name, err), fmt.Sprintf("add to the unit: LoadCredential=%s:/etc/ssg-agent/secrets/%s", s.Name, s.Name)
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		if value == "absent" { // what SetCredential= gives when the file is missing
			return "", fmt.Sprintf("the credential %s was never provisioned", s.Name), fmt.Sprintf("put the secret into /etc/ssg-agent/secrets/%s", s.Name)
		}
	}
	switch {
	case value == "":
		return "", "the secret is empty", "put the secret there"
	case !whole && strings.ContainsFunc(value, unicode.IsControl):
		return "", "the secret has more than one line, or other control characters", "put the secret alone there"
	}
	return value, "", ""
}

// readComplaint says why a file cannot be read, without its content.
func readComplaint(name string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		return name + " may not be read by this user"
	}
	return fmt.Sprintf("%s cannot be read: %v", name, err)
}
