package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2/unstable"
)

// decoder walks a tree and a struct together.
type decoder struct {
	file *File
	opts Options
	top  reflect.Type
}

func (d *decoder) decode(root *node, dst any) {
	v := reflect.ValueOf(dst).Elem()
	d.top = v.Type()
	d.table(root, v, "")
}

func (d *decoder) fail(n *node, path, message, remedy string) {
	d.file.failed[path] = true
	d.add(Error, n, path, message, remedy)
}

func (d *decoder) warn(n *node, path, message, remedy string) {
	d.add(Warning, n, path, message, remedy)
}

func (d *decoder) add(s Severity, n *node, path, message, remedy string) {
	at := n.key
	if n.value.len() > 0 {
		at = n.value
	}
	d.file.problems = append(d.file.problems, Problem{Severity: s, Path: path, Message: message, Remedy: remedy, at: at})
}

// table decodes the keys of a table into a struct that has its defaults.
func (d *decoder) table(n *node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	known := map[string]field{}
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		known[f.name] = f
		names = append(names, f.name)
	}
	for _, name := range n.names {
		child, at := n.fields[name], join(path, name)
		f, ok := known[name]
		if !ok {
			d.unknown(child, at, name, names)
			continue
		}
		d.field(child, v.Field(f.index), f, at)
	}
	for _, f := range fields {
		if n.fields[f.name] != nil {
			continue
		}
		at := join(path, f.name)
		switch {
		case f.required:
			d.missing(n, f, path, at)
		case f.table && f.typ.Kind() == reflect.Struct:
			// Its required keys are missing too.
			d.table(&node{kind: tableNode, key: n.key, value: n.value}, v.Field(f.index), at)
		}
	}
}

func (d *decoder) missing(n *node, f field, path, at string) {
	what := f.name + " = …"
	switch {
	case f.tables:
		what = "[[" + at + "]]"
	case f.table:
		what = "[" + at + "]"
	case f.example != "" && f.typ == secretType, f.example != "" && f.typ.Kind() != reflect.String:
		what = f.name + " = " + f.example
	case f.example != "":
		what = fmt.Sprintf("%s = %q", f.name, f.example)
	}
	where := ""
	if path != "" && !f.table && !f.tables {
		where = " under " + d.header(path)
	}
	d.fail(n, at, "is missing", "add "+what+where)
}

// header is how the table of a path is written.
func (d *decoder) header(path string) string {
	plain := indexForm.ReplaceAllString(path, "")
	if strings.HasSuffix(path, "]") {
		return "[[" + plain + "]]"
	}
	return "[" + plain + "]"
}

// unknown reports a key that the table does not have.
func (d *decoder) unknown(n *node, at, name string, names []string) {
	d.file.hide(n, unknown)
	d.file.failed[at] = true
	remedy := "known here: " + strings.Join(names, ", ")
	if len(d.file.problems) < maxProblems { // the rest is not shown
		if near := nearest(name, names); near != "" {
			remedy = fmt.Sprintf("did you mean %s?", near)
		} else if home := tableWith(d.top, name, ""); home != "" {
			remedy = fmt.Sprintf("%s belongs into %s", name, home)
		}
	}
	d.file.problems = append(d.file.problems, Problem{Severity: Error, Path: at, Message: "unknown key", Remedy: remedy, at: n.key})
}

// tableWith is the header of the first table that knows a key.
func tableWith(t reflect.Type, name, path string) string {
	for _, f := range fieldsOf(t) {
		at := join(path, f.name)
		switch {
		case f.name == name && path == "" && !f.table && !f.tables:
			return "the top of the file, before the first [table]"
		case f.table:
			sub := structOf(f.typ)
			if has(sub, name) {
				return "[" + at + "]"
			}
			if home := tableWith(sub, name, at); home != "" {
				return home
			}
		case f.tables:
			sub := structOf(f.typ.Elem())
			if has(sub, name) {
				return "[[" + at + "]]"
			}
			if home := tableWith(sub, name, at); home != "" {
				return home
			}
		}
	}
	return ""
}

func has(t reflect.Type, name string) bool {
	for _, f := range fieldsOf(t) {
		if f.name == name {
			return true
		}
	}
	return false
}

// field decodes the value of one key.
func (d *decoder) field(n *node, v reflect.Value, f field, path string) {
	if f.masked {
		how := personal
		if f.typ == secretType {
			how = secret
		}
		d.file.hide(n, how)
	}
	switch {
	case f.typ == secretType:
		v.Set(reflect.ValueOf(d.secret(n, path, f)))
	case n.kind == brokenNode:
		d.broken(n, f, path)
	case f.table:
		if n.kind != tableNode {
			d.wrongType(n, f, path)
			return
		}
		if v.Kind() == reflect.Pointer {
			v.Set(reflect.New(v.Type().Elem()))
			v = v.Elem()
			setDefaults(v)
		}
		d.table(n, v, path)
	case f.tables:
		d.tables(n, v, f, path)
	case f.list:
		d.list(n, v, f, path)
	case n.kind != scalarNode:
		d.wrongType(n, f, path)
	default:
		d.leaf(n, v, f, path)
	}
}

func (d *decoder) tables(n *node, v reflect.Value, f field, path string) {
	ok := n.kind == tablesNode || n.kind == listNode
	for _, item := range n.items {
		ok = ok && item.kind == tableNode
	}
	if !ok {
		d.wrongType(n, f, path)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		setDefaults(v.Index(i))
		d.table(item, v.Index(i), entry(path, i))
	}
	d.limits(n, v, f, path)
}

func (d *decoder) list(n *node, v reflect.Value, f field, path string) {
	if n.kind != listNode {
		d.wrongType(n, f, path)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		at := entry(path, i)
		if item.kind != scalarNode || !isString(item) {
			d.wrongType(item, field{typ: f.typ.Elem(), masked: f.masked}, at)
			continue
		}
		if c := control(item.text); c != "" {
			d.fail(item, at, c, "leave it out")
			continue
		}
		v.Index(i).SetString(item.text)
	}
	d.limits(n, v, f, path)
}

// leaf decodes one value; a wrong one leaves the default, so that it is not
// reported a second time where it meets another.
func (d *decoder) leaf(n *node, v reflect.Value, f field, path string) {
	before := reflect.New(v.Type()).Elem()
	before.Set(v)
	defer func() {
		if d.file.failed[path] {
			v.Set(before)
		}
	}()
	switch {
	case isString(n) && v.Kind() == reflect.Bool, isString(n) && isPlainInt(f):
		d.wrongType(n, f, path)
		return
	case isString(n):
		if c := control(n.text); c != "" {
			d.fail(n, path, c, "leave it out")
			return
		}
		if n.text == "" && f.required {
			d.fail(n, path, "is empty", fmt.Sprintf("write its value, such as %q", f.example))
			return
		}
		if err := setText(v, f, n.text); err != nil {
			remedy := "write " + f.wants()
			if ve, ok := errors.AsType[*ValueError](err); ok {
				remedy = ve.Remedy
			}
			d.fail(n, path, err.Error(), remedy)
			return
		}
	case n.scalar == unstable.Bool && v.Kind() == reflect.Bool:
		v.SetBool(n.text == "true")
	case n.scalar == unstable.Integer && (isPlainInt(f) || f.typ == amountType):
		i, err := strconv.ParseInt(n.text, 0, 64)
		if err != nil || v.OverflowInt(i) || (f.typ == amountType && i < 0) {
			d.fail(n, path, "is not a number that fits here", f.limits(""))
			return
		}
		v.SetInt(i)
	default:
		d.wrongType(n, f, path)
		return
	}
	d.limits(n, v, f, path)
}

func (d *decoder) limits(n *node, v reflect.Value, f field, path string) {
	if n.kind == scalarNode && isString(n) && n.text == "" && !f.required && v.Kind() == reflect.String && len(f.oneOf) == 0 {
		return // empty is how an optional text says "none"
	}
	if complaint, remedy := f.outside(v); complaint != "" {
		d.fail(n, path, complaint, remedy)
	}
}

// broken reports a line whose value is no TOML.
func (d *decoder) broken(n *node, f field, path string) {
	remedy := fmt.Sprintf(`put it in quotes: %s = "%s"`, f.name, clip(n.text))
	if f.masked {
		remedy = fmt.Sprintf(`put it in quotes, as it is: %s = "…"`, f.name)
	}
	message := "text without quotes"
	if strings.Contains(n.complaint, "leading zero") {
		message = "a number with leading zeros"
	}
	switch {
	case n.text == "":
		message, remedy = "has no value", fmt.Sprintf("write %s after the equals sign, or remove the line", f.wants())
	case strings.ContainsAny(n.text[:1], `"'`) || strings.ContainsAny(n.text, `"\`):
		message, remedy = "text that is not closed, or has a wrong escape", `begin and end text with ", and write \\ for a backslash`
	case f.typ.Kind() == reflect.Bool:
		message, remedy = "is neither true nor false", "write true or false, in small letters and without quotes"
	case isPlainInt(f):
		message, remedy = "is not a number", fmt.Sprintf("write a whole number without leading zeros: %s = 9600", f.name)
		if f.hasDefault {
			remedy = fmt.Sprintf("write a whole number without leading zeros: %s = %s", f.name, f.def)
		}
	case f.table, f.tables, f.list:
		message, remedy = "must be "+f.wants(), "see its form in the reference, docs/configuration.md"
	case f.typ == amountType:
		message, remedy = "is not an amount", amountRemedy
	}
	d.fail(n, path, message, remedy)
}

// wrongType reports a value of another type than the field's.
func (d *decoder) wrongType(n *node, f field, path string) {
	container := n.kind != scalarNode
	if !f.masked && (container || f.table || f.tables || f.list) {
		d.file.hide(n, unknown)
	}
	value := n.text
	if f.masked {
		value = "…"
	}
	remedy := ""
	switch {
	case f.table && n.kind == tablesNode:
		remedy = fmt.Sprintf("write [%s], with single brackets: there is only one", path)
	case f.tables && n.kind == tableNode:
		remedy = fmt.Sprintf("write [[%s]], with double brackets: there may be several", path)
	case f.table:
		remedy = fmt.Sprintf("write [%s] on a line of its own and its keys below", path)
	case f.tables:
		remedy = fmt.Sprintf("write [[%s]] on a line of its own and its keys below", path)
	case f.list:
		remedy = fmt.Sprintf(`write it in brackets: %s = ["…"]`, f.name)
	case container:
		remedy = fmt.Sprintf("write %s after the equals sign", f.wants())
	case f.typ == durationType && n.scalar == unstable.Integer:
		remedy = fmt.Sprintf(`give it a unit and quotes: %s = "%ss" for seconds, "%sm" for minutes`, f.name, value, value)
	case f.typ == durationType:
		remedy = durationRemedy
	case f.typ == sizeType && n.scalar == unstable.Integer && len(value) < 6:
		remedy = fmt.Sprintf(`give it a unit and quotes: %s = "%sMiB", for example`, f.name, value)
	case f.typ == sizeType:
		remedy = sizeRemedy
	case f.typ == amountType && n.scalar == unstable.Float:
		remedy = fmt.Sprintf(`write reais in quotes, with a dot and two decimals: %s = "%s"`, f.name, value)
	case f.typ == amountType:
		remedy = amountRemedy
	case isString(n):
		remedy = fmt.Sprintf("write %s, without quotes", f.wants())
	case f.typ.Kind() == reflect.Bool, isPlainInt(f):
		remedy = fmt.Sprintf("write %s = %s", f.name, f.def)
		if f.def == "" {
			remedy = "write " + f.wants()
		}
	case f.masked:
		remedy = fmt.Sprintf(`put it in quotes, with all its zeros and signs: %s = "…"`, f.name)
	case f.name == "": // an entry of a list
		remedy = fmt.Sprintf(`put it in quotes: "%s"`, clip(value))
	default:
		remedy = fmt.Sprintf(`put it in quotes: %s = "%s"`, f.name, clip(value))
	}
	d.fail(n, path, fmt.Sprintf("is %s, must be %s", n.is(), f.wants()), remedy)
}

// is names what a value is.
func (n *node) is() string {
	switch n.kind {
	case tableNode:
		return "a table"
	case tablesNode:
		return "a list of tables"
	case listNode:
		return "a list"
	}
	switch n.scalar {
	case unstable.String:
		return "text"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a number with decimals"
	}
	return "a date or time"
}

func isString(n *node) bool { return n.scalar == unstable.String }

// isPlainInt: a number without a unit.
func isPlainInt(f field) bool {
	switch f.typ {
	case durationType, sizeType, amountType:
		return false
	}
	if reflect.PointerTo(f.typ).Implements(textType) {
		return false
	}
	return f.typ.Kind() == reflect.Int || f.typ.Kind() == reflect.Int64
}

// control complains about characters that would move a cursor or a printer.
func control(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "has a line break or another control character"
	}
	return ""
}
