// Writes a text: ./generate MODEL.siskin [PROMPT]
// c++ -std=c++17 generate.cpp -lsiskin -o generate
#include <iostream>
#include <siskin.hpp>

int main(int argc, char **argv)
try {
    if (argc < 2) {
        std::cerr << "usage: generate MODEL.siskin [PROMPT]\n";
        return 2;
    }
    siskin::Model model(argv[1]);
    siskin::Session session(model);
    session.generate(argc > 2 ? argv[2] : "", 100, [](std::string_view text) { std::cout << text << std::flush; });
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
