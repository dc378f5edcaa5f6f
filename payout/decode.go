package payout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Decode reads a fact from its kind and its JSON form. Unknown kinds and fields are
// errors: a fact that is half understood must not move money.
func Decode(kind string, data []byte) (Fact, error) {
	switch kind {
	case ProposedFact{}.Kind():
		return decode[ProposedFact](data)
	case ApprovedFact{}.Kind():
		return decode[ApprovedFact](data)
	case LapsedFact{}.Kind():
		return decode[LapsedFact](data)
	case RejectedFact{}.Kind():
		return decode[RejectedFact](data)
	case SubmittingFact{}.Kind():
		return decode[SubmittingFact](data)
	case UnsentFact{}.Kind():
		return decode[UnsentFact](data)
	case UnknownFact{}.Kind():
		return decode[UnknownFact](data)
	case AbsentFact{}.Kind():
		return decode[AbsentFact](data)
	case OutcomeFact{}.Kind():
		return decode[OutcomeFact](data)
	case OddFact{}.Kind():
		return decode[OddFact](data)
	}
	return nil, fmt.Errorf("decode %q: no kind of fact about a payout", kind)
}

func decode[F Fact](data []byte) (Fact, error) {
	var f F
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&f)
	if _, more := d.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("something follows it")
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", f.Kind(), err)
	}
	return f, nil
}
