#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace pgc {

// Walks the words of a statement; past its end there are empty ones. A view of its tokens.
class Words {
 public:
  explicit Words(const std::vector<std::string_view>& tokens) : tokens_(tokens) {}

  // In capitals.
  std::string At(size_t i) const {
    std::string upper(Token(i));
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return upper;
  }
  std::string_view Token(size_t i) const {
    return i < tokens_.size() ? tokens_[i] : std::string_view();
  }
  size_t size() const { return tokens_.size(); }

  // Where the first of `words` stands outside all parentheses, from `begin` on; size() if nowhere.
  template <size_t kCount>
  size_t Find(size_t begin, const std::array<std::string_view, kCount>& words) const {
    int depth = 0;
    for (size_t i = begin; i < tokens_.size(); ++i) {
      if (tokens_[i] == "(" || tokens_[i] == "[") ++depth;
      if (tokens_[i] == ")" || tokens_[i] == "]") --depth;
      if (depth > 0) continue;
      if (std::find(words.begin(), words.end(), At(i)) != words.end()) return i;
    }
    return tokens_.size();
  }
  size_t Find(size_t begin, std::string_view word) const {
    return Find(begin, std::array<std::string_view, 1>{word});
  }
  // Behind the words `text` if they stand at `at`, else `at`.
  size_t Skip(size_t at, std::initializer_list<std::string_view> text) const {
    size_t i = at;
    for (const std::string_view word : text) {
      if (At(i++) != word) return at;
    }
    return i;
  }

 private:
  const std::vector<std::string_view>& tokens_;
};

}  // namespace pgc
