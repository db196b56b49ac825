#include "value/scalar_text.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <iterator>

#include "event/lsn.h"

namespace pgc {
namespace {

// Address families of an inet on the wire.
constexpr uint8_t kIpv4 = 2;
constexpr uint8_t kIpv6 = 3;
constexpr uint8_t kTextVersion = 1;

std::string_view AsText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void AppendHex(std::string& out, std::span<const uint8_t> bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const uint8_t byte : bytes) {
    out += kHex[byte >> 4];
    out += kHex[byte & 0xF];
  }
}

bool AppendColonHex(std::string& out, ByteReader& in, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    if (i != 0) out += ':';
    AppendHex(out, in.Bytes(1));
  }
  return in.ok();
}

}  // namespace

bool AppendText(std::string& out, ByteReader& in) {
  out += AsText(in.Bytes(in.remaining()));
  return true;
}

bool AppendChar(std::string& out, ByteReader& in) {
  const uint8_t byte = in.U8();
  if (byte != 0) out += static_cast<char>(byte);
  return in.ok();
}

bool AppendBytea(std::string& out, ByteReader& in) {
  out += "\\x";
  AppendHex(out, in.Bytes(in.remaining()));
  return true;
}

bool AppendBits(std::string& out, ByteReader& in) {
  const uint64_t bits = in.U32();
  const std::span<const uint8_t> bytes = in.Bytes((bits + 7) / 8);
  if (!in.ok()) return false;
  for (uint64_t i = 0; i < bits; ++i) out += (bytes[i / 8] >> (7 - i % 8) & 1) != 0 ? '1' : '0';
  return true;
}

bool AppendVersioned(std::string& out, ByteReader& in) {
  return in.U8() == kTextVersion && AppendText(out, in);
}

bool AppendUuid(std::string& out, ByteReader& in) {
  for (const size_t bytes : {4, 2, 2, 2, 6}) {
    if (bytes != 4) out += '-';
    AppendHex(out, in.Bytes(bytes));
  }
  return in.ok();
}

bool AppendInet(std::string& out, ByteReader& in) {
  const uint8_t family = in.U8();
  const uint8_t bits = in.U8();
  const bool is_network = in.U8() != 0;
  const uint8_t length = in.U8();
  const std::span<const uint8_t> address = in.Bytes(length);
  const size_t expected = family == kIpv4 ? 4 : 16;
  const bool known = family == kIpv4 || family == kIpv6;
  if (!in.ok() || !known || length != expected || bits > 8 * expected) return false;
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(family == kIpv4 ? AF_INET : AF_INET6, address.data(), text, sizeof text) ==
      nullptr) {
    return false;
  }
  out += text;
  if (is_network || bits != 8 * expected) fmt::format_to(std::back_inserter(out), "/{}", bits);
  return true;
}

bool AppendMacaddr(std::string& out, ByteReader& in) { return AppendColonHex(out, in, 6); }

bool AppendMacaddr8(std::string& out, ByteReader& in) { return AppendColonHex(out, in, 8); }

bool AppendLsn(std::string& out, ByteReader& in) {
  out += ToString(Lsn{in.U64()});
  return in.ok();
}

bool AppendTid(std::string& out, ByteReader& in) {
  const uint32_t block = in.U32();
  fmt::format_to(std::back_inserter(out), "({},{})", block, in.U16());
  return in.ok();
}

bool AppendPoint(std::string& out, ByteReader& in) {
  out += '(';
  if (!AppendFloat8(out, in)) return false;
  out += ',';
  if (!AppendFloat8(out, in)) return false;
  out += ')';
  return true;
}

}  // namespace pgc
