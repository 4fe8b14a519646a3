package rule

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxDepth    = 32 // of logic rules inside each other
	maxChildren = 4096
)

// conditions compiles AND, OR and NOT: ((TYPE,payload),(TYPE,payload)…).
func (c *compiler) conditions(o *op, r *Rule) (string, error) {
	if c.depth >= maxDepth {
		return "", fmt.Errorf("more than %d logic rules inside each other", maxDepth)
	}
	parts, err := splitConditions(r.Payload)
	switch {
	case err != nil:
		return "", err
	case o.kind == not && len(parts) != 1:
		return "", errors.New("not rule must contain one rule")
	case len(parts) == 0:
		return "", errors.New("want conditions such as ((DOMAIN,example.org),(NETWORK,tcp)), got none")
	}
	c.depth++
	defer func() { c.depth-- }()
	children := make([]op, 0, len(parts))
	shown := make([]string, 0, len(parts))
	for _, part := range parts {
		child, text, err := c.condition(part)
		if err != nil {
			return "", err
		}
		children, shown = append(children, child), append(shown, text)
	}
	o.arg = int32(len(c.p.logic))
	c.p.logic = append(c.p.logic, children)
	switch o.kind {
	case not:
		return "(!" + shown[0] + ")", nil
	case or:
		return "(" + strings.Join(shown, " || ") + ")", nil
	}
	return "(" + strings.Join(shown, " && ") + ")", nil
}

// condition compiles what stands between the parentheses of a condition; text is how the API shows it.
func (c *compiler) condition(line string) (o op, text string, err error) {
	r, err := ParseCondition(line)
	if err != nil {
		return op{}, "", err
	}
	o, payload, err := c.rule(&r)
	if err != nil {
		return op{}, "", err
	}
	o.text = payload
	return o, "(" + o.api + "," + payload + ")", nil
}

// splitConditions takes ((a),(b)) apart into a and b.
func splitConditions(s string) ([]string, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "(") || !strings.HasSuffix(s, ")") {
		return nil, fmt.Errorf("payload format error: want conditions such as ((DOMAIN,example.org),(NETWORK,tcp)), got %q", clip(s))
	}
	inside := s[1 : len(s)-1]
	var parts []string
	for inside != "" {
		end, err := closing(inside)
		if err != nil {
			return nil, err
		}
		if parts = append(parts, inside[1:end]); len(parts) > maxChildren {
			return nil, fmt.Errorf("more than %d conditions", maxChildren)
		}
		inside = strings.TrimSpace(inside[end+1:])
		if inside == "" {
			break
		}
		rest, comma := strings.CutPrefix(inside, ",")
		if inside = strings.TrimSpace(rest); !comma || inside == "" {
			return nil, fmt.Errorf("payload format error: want a comma between conditions, got %q", clip(s))
		}
	}
	return parts, nil
}

// closing finds the parenthesis that closes the one that s begins with.
func closing(s string) (int, error) {
	if s[0] != '(' {
		return 0, fmt.Errorf("format error is missing '(' before %q", clip(s))
	}
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("format error is missing ) after %q", clip(s))
}

// maxLooks bounds the rules that one flow can make the engine look at through sub-rules.
const maxLooks = 1 << 24

// call compiles SUB-RULE,(TYPE,payload),name.
func (c *compiler) call(o *op, r *Rule) (string, error) {
	s := strings.TrimSpace(r.Payload)
	if !strings.HasPrefix(s, "(") {
		return "", fmt.Errorf("payload format error: want one condition such as (NETWORK,tcp), got %q", clip(s))
	}
	end, err := closing(s)
	switch {
	case err != nil:
		return "", err
	case end != len(s)-1:
		return "", fmt.Errorf("payload format error: want one condition such as (NETWORK,tcp), got %q", clip(s))
	}
	c.depth++
	cond, _, err := c.condition(s[1:end])
	c.depth--
	if err != nil {
		return "", err
	}
	sub, err := c.sub(r.Target)
	if err != nil {
		return "", err
	}
	c.p.depth = max(c.p.depth, sub.depth+1)
	if c.p.looks += sub.looks; c.p.looks > maxLooks {
		return "", fmt.Errorf("more than %d rules to look at, counting those of sub-rules each time they are called", maxLooks)
	}
	o.arg = int32(len(c.p.calls))
	c.p.calls = append(c.p.calls, call{cond, sub})
	return r.Payload, nil
}
