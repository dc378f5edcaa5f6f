package emulator

// realTime looks at bytes that may be a real-time command: DLE EOT (status),
// DLE ENQ (recover), DLE DC4 (pulse, power, clear). More means that it needs
// another byte to tell, done that it was one and was obeyed.
func (p *Printer) realTime(r []byte) (more, done bool) {
	if r[0] != 0x10 {
		return false, false
	}
	if len(r) == 1 {
		return true, false
	}
	length := 0
	switch r[1] {
	case 0x04, 0x05:
		length = 3
	case 0x14:
		if len(r) == 2 {
			return true, false
		}
		length = map[byte]int{1: 5, 2: 5, 8: 10}[r[2]]
	}
	switch {
	case length == 0:
		return false, false
	case len(r) < length:
		return true, false
	}
	switch {
	case r[1] == 0x04:
		p.status(r[2])
	case r[1] == 0x05 && r[2] == 2:
		p.clear()
	case r[1] == 0x05:
		// 1: go on after an error; ours go away by themselves
	case r[2] == 1:
		p.problem("real-time drawer pulse")
	case r[2] == 2:
		p.problem("real-time power off")
	case string(r[3:]) == "\x01\x03\x14\x01\x06\x02\x08":
		p.clear()
		p.answer([]byte{0x37, 0x25, 0})
	default:
		return false, false
	}
	return false, true
}

// clear drops what is received and not printed.
func (p *Printer) clear() {
	p.in, p.work = nil, nil
	p.machine.reset(p)
}

// status answers DLE EOT n: 0xx1xx10.
func (p *Printer) status(n byte) {
	b := byte(0x12)
	set := func(on bool, bits byte) {
		if on {
			b |= bits
		}
	}
	switch n {
	case 1:
		set(p.offline(), 0x08)
	case 2:
		set(p.cover, 0x04)
		set(p.paper == 0, 0x20)
		set(p.cutter || p.fault != nil, 0x40)
	case 3:
		set(p.cutter, 0x08)
		set(p.fault != nil, 0x20)
	case 4:
		set(p.nearEnd || p.paper == 0, 0x0c)
		set(p.paper == 0, 0x60)
	default:
		p.problem("status of an unknown group")
		return
	}
	p.answer([]byte{b})
}
