// Command goshape prints, as JSON, how Go encodes a PodTemplateSpec: for each struct its fields in order, with
// their JSON name, the kind of their value, and when they are left out. The pod-template hash depends on it
// (docs/behaviour.md §6). Run it with `go run . > ../podtemplate.json` after a change of the k8s.io/api version.
//
// With the argument "encode" it reads one JSON pod template or quantity a line and prints what Go makes of it; the
// vectors of tests/api/go_vectors.json were recorded so.
//
// Output: {"version": …, "root": "PodTemplateSpec", "types": {"Name": [["json name", "kind", "flag"], …]}}.
// Kinds: s string, b bool, i int32, I int64, q Quantity, n IntOrString, t Time, x any JSON, @Name a struct;
// prefixes: * pointer, [ slice, { map from string. Flags: "" always written, "e" omitempty, "z" omitzero.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type shapes map[string][][3]string

var special = map[reflect.Type]string{
	reflect.TypeOf(resource.Quantity{}):  "q",
	reflect.TypeOf(intstr.IntOrString{}): "n",
	reflect.TypeOf(metav1.Time{}):        "t",
	reflect.TypeOf(metav1.FieldsV1{}):    "x",
}

func (s shapes) kind(t reflect.Type) string {
	if kind, ok := special[t]; ok {
		return kind
	}
	switch t.Kind() {
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "b"
	case reflect.Int32:
		return "i"
	case reflect.Int64:
		return "I"
	case reflect.Pointer:
		return "*" + s.kind(t.Elem())
	case reflect.Slice:
		return "[" + s.kind(t.Elem())
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("map key of %v", t))
		}
		return "{" + s.kind(t.Elem())
	case reflect.Struct:
		s.add(t)
		return "@" + t.Name()
	}
	panic(fmt.Sprintf("no kind for %v", t))
}

func (s shapes) add(t reflect.Type) {
	if _, ok := s[t.Name()]; ok {
		return
	}
	s[t.Name()] = nil
	s[t.Name()] = s.fields(t)
}

func (s shapes) fields(t reflect.Type) [][3]string {
	fields := [][3]string{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			fields = append(fields, s.fields(field.Type)...)
			continue
		}
		flag := ""
		for _, option := range strings.Split(options, ",") {
			switch option {
			case "omitempty":
				if flag == "" {
					flag = "e"
				}
			case "omitzero":
				flag = "z"
			}
		}
		fields = append(fields, [3]string{name, s.kind(field.Type), flag})
	}
	return fields
}

func reencode(in *bufio.Scanner, out *json.Encoder) {
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var target any = &resource.Quantity{}
		if strings.HasPrefix(in.Text(), "{") {
			target = &corev1.PodTemplateSpec{}
		}
		text := ""
		if err := json.Unmarshal(in.Bytes(), target); err == nil {
			encoded, err := json.Marshal(target)
			if err != nil {
				panic(err)
			}
			text = string(encoded)
		}
		if err := out.Encode(text); err != nil {
			panic(err)
		}
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "encode" {
		reencode(bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout))
		return
	}
	s := shapes{}
	s.add(reflect.TypeOf(corev1.PodTemplateSpec{}))
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "k8s.io/api" {
				version = module.Version
			}
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]any{"version": version, "root": "PodTemplateSpec", "types": s}); err != nil {
		panic(err)
	}
}
