#include "line_reader.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "io.h"

#if defined(RUVLLM_HAS_LINE_EDITOR)
#include <histedit.h>

#include <cstdio>
#endif

namespace ruvllm::cli {
namespace {

// One byte of stdin, -1 at its end, -2 when Ctrl-C came first. SIGINT is let in only while poll
// waits: one that came between a look at the flag and a plain read would be noticed a line late.
int read_byte() {
  sigset_t only_interrupt;
  sigset_t before;
  sigemptyset(&only_interrupt);
  sigaddset(&only_interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &only_interrupt, &before);
  int byte = -2;
  while (!interrupted()) {
    pollfd in = {STDIN_FILENO, POLLIN, 0};
    if (ppoll(&in, 1, nullptr, &before) < 0) {
      if (errno == EINTR) continue;
      byte = -1;
      break;
    }
    unsigned char c = 0;
    const ssize_t count = ::read(STDIN_FILENO, &c, 1);
    if (count < 0 && errno == EINTR) continue;
    byte = count == 1 ? c : -1;
    break;
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return byte;
}

LineReader::Outcome read_plain(const std::string& prompt, std::string& line) {
  if (stdin_is_terminal()) write_out(prompt);
  line.clear();
  while (true) {
    const int c = read_byte();
    if (c == -2) return LineReader::Outcome::kInterrupted;
    if (c == -1) return line.empty() ? LineReader::Outcome::kEnd : LineReader::Outcome::kLine;
    if (c == '\n') return LineReader::Outcome::kLine;
    line += static_cast<char>(c);
  }
}

}  // namespace

#if defined(RUVLLM_HAS_LINE_EDITOR)

struct LineReader::Editor {
  Editor() {
    editline = el_init("ruvllm", stdin, stdout, stderr);
    if (editline == nullptr) return;
    past = history_init();
    HistEvent event;
    history(past, &event, H_SETSIZE, 1000);
    history(past, &event, H_SETUNIQUE, 1);
    el_set(editline, EL_CLIENTDATA, this);
    el_set(editline, EL_PROMPT, &Editor::prompt_of);
    el_set(editline, EL_EDITOR, "emacs");
    el_set(editline, EL_HIST, history, past);
    el_set(editline, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    // Ctrl-C arrives as a character while a line is edited, not as a signal.
    el_set(editline, EL_ADDFN, "ruvllm-interrupt", "drops the line", &Editor::on_interrupt);
    el_set(editline, EL_BIND, "^C", "ruvllm-interrupt", nullptr);
    el_set(editline, EL_SETTY, "-d", "-isig", nullptr);
  }
  ~Editor() {
    if (editline != nullptr) el_end(editline);
    if (past != nullptr) history_end(past);
  }

  static Editor* self(EditLine* editline) {
    void* data = nullptr;
    el_get(editline, EL_CLIENTDATA, &data);
    return static_cast<Editor*>(data);
  }
  static char* prompt_of(EditLine* editline) { return self(editline)->prompt.data(); }
  static unsigned char on_interrupt(EditLine* editline, int) {
    self(editline)->interrupted_line = true;
    return CC_NEWLINE;
  }

  EditLine* editline = nullptr;
  History* past = nullptr;
  std::string prompt;
  bool interrupted_line = false;
};

LineReader::LineReader() {
  if (!stdin_is_terminal() || !stdout_is_terminal()) return;
  editor_ = std::make_unique<Editor>();
  if (editor_->editline == nullptr) editor_.reset();
}
LineReader::~LineReader() = default;

LineReader::Outcome LineReader::read(const std::string& prompt, std::string& line) {
  if (editor_ == nullptr) return read_plain(prompt, line);
  editor_->prompt = prompt;
  editor_->interrupted_line = false;
  int length = 0;
  // el_gets shows the prompt before it takes the terminal out of line mode: a key struck between
  // the two would be echoed twice.
  el_set(editor_->editline, EL_PREP_TERM, 1);
  const char* text = el_gets(editor_->editline, &length);
  if (interrupted() || editor_->interrupted_line) return Outcome::kInterrupted;
  if (text == nullptr || length <= 0) return Outcome::kEnd;
  line.assign(text, static_cast<size_t>(length));
  if (line.ends_with('\n')) line.pop_back();
  if (!line.empty()) {
    HistEvent event;
    history(editor_->past, &event, H_ENTER, line.c_str());
  }
  return Outcome::kLine;
}

#else

struct LineReader::Editor {};
LineReader::LineReader() = default;
LineReader::~LineReader() = default;

LineReader::Outcome LineReader::read(const std::string& prompt, std::string& line) {
  return read_plain(prompt, line);
}

#endif

}  // namespace ruvllm::cli
