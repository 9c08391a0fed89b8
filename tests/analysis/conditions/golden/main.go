// Evaluates conditions as github.com/expr-lang/expr does. Reads cases as JSON from standard input, writes the same
// cases with their outcomes to standard output. Run by cases.py, never by a test.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"sort"
	"strconv"
	"time"

	"github.com/expr-lang/expr"
)

type testCase struct {
	Source  string          `json:"source"`
	Result  json.RawMessage `json:"result"`
	Failure string          `json:"failure,omitempty"`
	Value   any             `json:"value,omitempty"`
}

func main() {
	time.Local = time.UTC
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	for i := range cases {
		outcome(&cases[i])
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(cases); err != nil {
		panic(err)
	}
}

func outcome(c *testCase) {
	var raw any
	if err := json.Unmarshal(c.Result, &raw); err != nil {
		panic(err)
	}
	env := environment(decode(raw))
	program, err := expr.Compile(c.Source, expr.Env(env))
	if err != nil {
		c.Failure = "compile"
		if os.Getenv("VERBOSE") != "" {
			c.Failure += ": " + err.Error()
		}
		return
	}
	value, err := expr.Run(program, env)
	if err != nil {
		c.Failure = "runtime"
		if os.Getenv("VERBOSE") != "" {
			c.Failure += ": " + err.Error()
		}
		return
	}
	c.Value = encode(value)
}

// The names that a condition sees besides the language's own.
func environment(result any) map[string]any {
	return map[string]any{
		"result": result,
		"asInt": func(in any) int64 {
			switch v := in.(type) {
			case float64:
				return int64(v)
			case int:
				return int64(v)
			case int64:
				return v
			case string:
				n, err := strconv.ParseInt(v, 10, 64)
				if err != nil {
					panic(err)
				}
				return n
			}
			panic(fmt.Sprintf("asInt of %T", in))
		},
		"asFloat": func(in any) float64 {
			switch v := in.(type) {
			case float64:
				return v
			case int:
				return float64(v)
			case int64:
				return float64(v)
			case string:
				f, err := strconv.ParseFloat(v, 64)
				if err != nil {
					panic(err)
				}
				return f
			}
			panic(fmt.Sprintf("asFloat of %T", in))
		},
		"isNaN": math.IsNaN,
		"isInf": func(f float64) bool { return math.IsInf(f, 0) },
		"isNil": func(any) bool { return result == nil },
		"default": func(_ any, fallback any) any {
			if result == nil {
				return fallback
			}
			return result
		},
	}
}

// decode turns {"int": 1}, {"float": "NaN"} and {"floats": […]} into Go values; all else is JSON.
func decode(raw any) any {
	tagged, ok := raw.(map[string]any)
	if !ok || len(tagged) != 1 {
		return raw
	}
	if n, ok := tagged["int"].(float64); ok {
		return int(n)
	}
	if text, ok := tagged["float"].(string); ok {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic(err)
		}
		return f
	}
	if list, ok := tagged["floats"].([]any); ok {
		floats := make([]float64, 0, len(list))
		for _, item := range list {
			f, err := strconv.ParseFloat(item.(string), 64)
			if err != nil {
				panic(err)
			}
			floats = append(floats, f)
		}
		return floats
	}
	return raw
}

// encode writes a value with the type that a condition would see.
func encode(value any) any {
	switch v := value.(type) {
	case nil:
		return map[string]any{"nil": true}
	case bool, string:
		return v
	case float64:
		return map[string]any{"float": strconv.FormatFloat(v, 'g', -1, 64)}
	case []byte:
		numbers := make([]int, len(v))
		for i, b := range v {
			numbers[i] = int(b)
		}
		return map[string]any{"bytes": numbers}
	case time.Time:
		return map[string]any{"time": v.Format(time.RFC3339Nano)}
	case time.Duration:
		return map[string]any{"duration": strconv.FormatInt(int64(v), 10)}
	}
	rv := reflect.ValueOf(value)
	switch rv.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"int": strconv.FormatInt(rv.Int(), 10)}
	case reflect.Slice, reflect.Array:
		items := make([]any, rv.Len())
		for i := range items {
			items[i] = encode(rv.Index(i).Interface())
		}
		return items
	case reflect.Map:
		pairs := make([][2]any, 0, rv.Len())
		for each := rv.MapRange(); each.Next(); {
			pairs = append(pairs, [2]any{encode(each.Key().Interface()), encode(each.Value().Interface())})
		}
		sort.Slice(pairs, func(a, b int) bool { return fmt.Sprint(pairs[a][0]) < fmt.Sprint(pairs[b][0]) })
		return map[string]any{"map": pairs}
	}
	return map[string]any{"other": fmt.Sprintf("%T", value)}
}
