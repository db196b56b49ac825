// A captured change as a line of text.
#pragma once

#include <string>

#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// One JSON object, without a line end:
//   {"lsn":"0/16B3748","seq":1,"op":"INSERT","schema":"public","table":"t","new":{…},"old":{…}}
// with `"dump":true` after op for a row of a dump, and values as value/value_json.h has them. A
// column that was not sent (an unchanged TOAST value) is not there.
std::string ChangeToJson(const pb::CaptureMessage& message);

// The same for people: 0/16B3748|1 UPDATE public.t old(id=2) id=3 note='it''s' gone=null
std::string ChangeToText(const pb::CaptureMessage& message);

}  // namespace pgc
